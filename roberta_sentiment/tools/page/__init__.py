"""HTML pages: one file each without a reference to another, light or dark, wide or narrow."""
