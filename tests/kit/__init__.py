"""What tests, chaos runs and the demo share: databases of their own, random workloads, comparisons."""
