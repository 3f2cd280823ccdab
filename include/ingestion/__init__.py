"""What brings data into the lake's raw layout: hour landing, change data, billing and a user's own logs."""
