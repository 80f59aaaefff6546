"""What every door needs and none owns: requests, answers, metrics and health; knows no protocol."""
