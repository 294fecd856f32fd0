"""stub"""


class S:
    name = "stub"

    def sniff(self, place):
        return None

    def read(self, place):
        raise NotImplementedError


SOURCE = S()
