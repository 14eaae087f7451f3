"""Steps: named pieces of an execution, recorded once, tried as their policy says."""
