"""What every part uses: errors, progress, files that appear whole, and what may be stored of an error."""
