"""What owners do to their accounts night by night, and what an archive must then say."""
