"""What every part of the ad-ranking lifecycle agrees on: contracts, decisions, online-store access."""
