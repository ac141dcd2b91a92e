"""What a sweep can name: models, data sets, methods and controls, each with its options."""
