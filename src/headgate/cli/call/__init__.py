"""`headgate call`: a method called from the command line, over any wire, without the service's class at hand."""
