"""What is settled before planning: the networks for distances, and the plugin code of trials. No torch."""
