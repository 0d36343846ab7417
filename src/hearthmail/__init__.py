"""The programs of Hearthmail that run on the box."""
