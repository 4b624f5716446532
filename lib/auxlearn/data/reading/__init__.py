"""Files and hub data sets of others as columns of raw values; what these mean is `data.validation`'s."""
