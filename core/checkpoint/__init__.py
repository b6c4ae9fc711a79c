"""Single files of weights, in the original layout."""
