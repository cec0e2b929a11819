FINE = []
