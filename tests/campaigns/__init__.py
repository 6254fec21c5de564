"""Long campaigns against promises that no single test can show; each also runs small with the other tests."""
