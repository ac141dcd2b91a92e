"""What is settled before planning: what distances are measured in, and by which code trials are known. No torch."""
