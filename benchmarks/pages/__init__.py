"""What all pages are made of: the file itself, plots, cells of tables, words; the templates."""
