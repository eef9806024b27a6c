"""Items in DynamoDB, one for each row, written on condition that they are newer."""
