"""The page about one search, a file for each part of it; ``report`` puts them together."""
