"""An order: stock is reserved, money charged, a parcel sent; or all of it is undone. Over HTTP, through every kill."""
