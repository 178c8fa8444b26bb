"""The Space: its card, and the script that deploys it."""
