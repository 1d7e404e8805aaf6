"""Side by side with the peers, and what preparation costs: one command each."""
