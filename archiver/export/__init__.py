"""The archive in forms that outlive it, one file per form. The middle is pure (names, templates, what goes where), the edges are thin."""
