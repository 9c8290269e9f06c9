"""Where every file comes from: a record beside the results for each output of each stage."""
