"""What an experiment found: frames, charts, one offline page, tables and Markdown. Neither torch nor ray."""
