"""What all customers have in common: the shares and times of a visit, kept together since the number of events follows from them."""

from training.simulator.settings import DAY

SECOND = 1_000_000  # µs
SEARCHES = 0.35  # of the visits online that aren't for something that has run out
BUYS_MORE = 0.25  # chance that a further item of a visit that ends in an order is bought too
CARTS = 0.12  # chance that an item is put into the cart without being bought
STAYS_ON_TOPIC, FOLLOWS, IN_SEASON = 0.85, 0.3, 0.1
TASTE = (0.6, 0.9, 1.0)  # cumulative shares of a customer's three tastes
MEAN_DWELL, AT_THE_CHECKOUT = 35 * SECOND, 60 * SECOND
SEVERAL_PIECES = 0.15
LATENESS = 0.08  # of the period of what is used up, on average
BACK_IN_STORE = 0.3  # of the returns of those who have a card
FIRST_RETURN, LAST_RETURN = 2 * DAY, 30 * DAY
