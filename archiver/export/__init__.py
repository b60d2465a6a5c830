"""Forms of the archive for those who do not ask it by SQL: one module or package for each."""
