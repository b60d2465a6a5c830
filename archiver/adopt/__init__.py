"""Takes in what other tools have downloaded: their files are matched to items, stored and recorded."""
