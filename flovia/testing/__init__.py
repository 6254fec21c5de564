"""What provider and adapter authors test with: real servers, the fixture app, contract suites."""
