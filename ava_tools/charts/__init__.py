"""Charts and image sheets that several tools draw."""
