"""What tamis.toml says: its tables, the values that they take, and the names that exist for them."""
