"""One flat vector over a torch module, gates on it, and what dead units leave."""
