"""The truth: users, ads, sellers and their searches."""
