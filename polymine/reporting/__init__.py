"""What a run has to show: numbers from its tables, and the page and the card made of them."""
