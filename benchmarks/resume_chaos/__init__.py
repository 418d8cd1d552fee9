"""Kill a training run at random moments until it is done, and compare what it leaves with the undisturbed run."""
