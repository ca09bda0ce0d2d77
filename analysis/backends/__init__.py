"""Where models are analysed: this machine, a Ray cluster, or jobs of the Hub."""
