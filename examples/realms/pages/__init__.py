"""What a reader gets: two Markdown files and one HTML page. Pure: studies and figures in, text out."""
