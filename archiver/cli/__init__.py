"""The command line: options → Config → one call of ``archiver.archive`` → show. Only here are click and tqdm imported."""
