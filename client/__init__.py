"""`ca-login`: what runs on a laptop or in CI. Standard library and ca's floor only."""
