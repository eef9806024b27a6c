"""Local servers, container files and the demo: everything that puts Tailrace somewhere."""
