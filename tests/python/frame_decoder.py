"""Decodes frames from `docs/formats/frame.md` alone: a frame in hexadecimal a line on standard input, and
a row as JSON a line on standard output. It is written for the page, not for speed, and trusts its input
but for the checksum."""

import base64
import json
import struct
import sys

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-._"
KINDS = ["int", "float", "bool", "text", "bytes"]
CLOCKS = ["gps", "ntp", "none"]
UNITS = [(10**6, 29, 1, 5), (10**5, 33, 1, 8), (10**4, 36, 5, 12), (1000, 39, 9, 15), (1, 49, 20, 25)]
EPOCH = 1_735_689_600_000_000
DECIMALS = [(100, 1), (10, 1)]
# Grids, Golomb parameters of the first value and of the first step, circle.
POSITION = ([(10000, 1), (5000, 3), (1000, 1), (500, 3), (100, 1), (50, 3), (10, 1), (5, 3)], 29, 10, 0)
SPEED = ([(1000, 1), (2500, 9), (100, 1), (463, 9), (250, 9), (10, 1), (463, 90), (25, 9)], 14, 9, 0)
HUNDREDTHS = (DECIMALS, 8, 5, 0)
SMALL = ([], 3, 2, 0)
ANY = ([(10**9, 1), (10**6, 1), (10**5, 1), (10**4, 1), (1000, 1), (100, 1), (60, 1), (10, 1)], 8, 6, 0)
PLAIN = ([], 4, 3, 0)
FLOAT = ([], 12, 8, 0)
HINTS = {
    "lat_e7": POSITION, "lon_e7": POSITION, "speed_mm_s": SPEED, "wind_speed_mm_s": SPEED,
    "heading_cdeg": (DECIMALS, 15, 8, 36000), "altitude_cm": (DECIMALS, 14, 6, 0), "hdop_e2": HUNDREDTHS,
    "temperature_c_e2": HUNDREDTHS, "precipitation_mm_h_e2": HUNDREDTHS, "humidity_pct_e2": HUNDREDTHS,
    "fix": SMALL, "satellites": SMALL, "exact": SMALL,
}  # fmt: skip


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def signed(n):
    """A 64-bit number as signed: arithmetic between values wraps."""
    return (n + 2**63) % 2**64 - 2**63


def unzigzag(n):
    return n >> 1 if n % 2 == 0 else -(n >> 1) - 1


def toward_zero(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


class Bits:
    def __init__(self, data):
        self.number, self.at, self.end = int.from_bytes(data, "little"), 8, len(data) * 8

    def get(self, n):
        value = self.number >> self.at & (1 << n) - 1
        self.at += n
        assert self.at <= self.end, "an early end"
        return value

    def ones(self, most):
        n = 0
        while n < most and self.get(1):
            n += 1
        return n

    def gamma(self):
        n = self.ones(64)
        return 1 << n | self.get(n)

    def golomb(self, k):
        return (self.gamma() - 1) << k | self.get(k)

    def rice(self, k):
        upper = self.ones(24)
        return upper << k | self.get(k) if upper < 24 else self.get(self.get(6) + 1)

    def characters(self, n):
        name = ""
        while len(name) < n:
            group = min(3, n - len(name))
            number = self.get([6, 11, 16][group - 1])
            name += "".join(CHARACTERS[number // 39**i % 39] for i in reversed(range(group)))
        return name

    def name(self):
        return self.characters(self.get(6) + 1)

    def vehicle(self):
        n = self.get(6) + 1
        if not self.get(1):
            return self.characters(n)
        if not self.get(1):
            return self.characters(n).upper()
        return "".join(chr(self.get(7)) for _ in range(n))

    def first_level(self):
        """None: zeros are counted."""
        level = self.get(4)
        if level == 15:
            return None
        return 14 + self.golomb(1) if level == 14 else level

    def levelled(self, level, n):
        return [unzigzag(self.rice(level - 1)) if level else 0 for _ in range(n)]

    def misses(self, n):
        blocks = n > 16 and self.get(1)
        level = self.first_level()
        if level is None:
            return self.sparse(n)
        if not blocks:
            return self.levelled(level, n)
        out = self.levelled(level, 16)
        while len(out) < n:
            level += unzigzag(self.golomb(0))
            out += self.levelled(level, min(16, n - len(out)))
        return out

    def sparse(self, n):
        zeros, level, out = self.get(2), self.first_level(), []
        while len(out) < n:
            out += [0] * self.rice(zeros)
            if len(out) < n:
                out.append(unzigzag((self.rice(level - 1) if level else 0) + 1))
        return out

    def bools(self, n):
        if not self.get(1):
            return [self.get(1)] * n
        if not self.get(1):
            return [self.get(1) for _ in range(n)]
        value, out = self.get(1), []
        while len(out) < n:
            out += [value] * self.gamma()
            value = 1 - value
        return out

    def ints(self, n, hint, way=None):
        grids, first, step, circle = hint
        num, den = grids[self.get(len(grids).bit_length() - 1)] if grids and self.get(1) else (1, 1)
        parameter = lambda k: max(max(k - (max(num // den, 1).bit_length() - 1), 0), 1)
        values = [unzigzag(self.golomb(parameter(first)))]
        if n > 1:
            if self.get(1):
                values *= n
            else:
                circle = circle // num if den == 1 else 0
                values += self.series(values[0], n - 1, parameter(step), circle, way, num, den)
        if (num, den) == (1, 1):
            return values
        return [v * num if den == 1 else toward_zero(2 * v * num + (-den if v < 0 else den), 2 * den) for v in values]

    def series(self, first, n, step_parameter, circle, way, num, den):
        guess = self.get(3 if way else 2)
        misses = [unzigzag(self.golomb(step_parameter))] if guess in (2, 3) else []
        misses += self.misses(n - len(misses))
        steps = way(guess == 7, first, num, den) if guess >= 4 else None
        out, last, before, level = [], first, 0, first
        for i, miss in enumerate(misses):
            if guess == 0:
                out.append(signed(level + miss))
                level = signed(level + (signed(miss + 2) >> 2))
                continue
            if guess == 1:
                step = miss
            elif guess in (2, 3):
                before = step = signed(miss + (before if guess == 3 else toward_zero(before, 2)))
            else:
                correction = {5: toward_zero(before, 2), 6: before}.get(guess, 0)
                before = signed(miss + correction)
                step = steps[i + 1] + before
            last = (last + step) % circle if circle else signed(last + step)
            out.append(last)
        return out

    def floats(self, n):
        if self.get(1):
            shift, out = self.get(6), []
            for v in self.ints(n, FLOAT):
                sign, magnitude = (1 << 63, ~v) if v < 0 else (0, v)
                bits = sign | (magnitude << shift) % 2**63
                out.append(struct.unpack("<d", struct.pack("<Q", bits))[0])
            return out
        exponent = self.get(4)
        return [float(v) / float(10**exponent) for v in self.ints(n, FLOAT)]


def sine_table():
    half_pi, table = 1_811_004_864_519_280_711, []
    for i in range(257):
        x = half_pi * i // 256
        square, term, total, n = x * x >> 60, x, x, 1
        while n < 21:
            term = toward_zero(-(term * square >> 60), (n + 1) * (n + 2))
            total, n = total + term, n + 2
        table.append((total + (1 << 43)) >> 44)
    return table


SINE = sine_table()


def sine(cdeg):
    turned = cdeg % 36000
    half, sign = (turned, 1) if turned < 18000 else (turned - 18000, -1)
    place = (half if half <= 9000 else 18000 - half) * 256
    i, part = place // 9000, place % 9000
    low, high = SINE[i], SINE[min(i + 1, 256)]
    return sign * (low + (high - low) * part // 9000)


def cosine(cdeg):
    return sine(cdeg + 9000)


def reckoning(ts, speeds, headings, north, latitude):
    """Steps along an axis, from the rows' times, speeds and headings."""

    def steps(at_end, first, num, den):
        doubled, turn, before, then = [], (0, 1 << 16), 0, None
        for t, speed, heading in zip(ts, speeds, headings):
            if heading is not None:
                turn = (sine(heading), cosine(heading))
            now = min(max(speed or 0, 0), 1 << 20) * turn[1 if north else 0]
            time = 0 if then is None or not 0 <= t - then <= 10_000_000 else t - then
            doubled.append(((now + (now if at_end else before)) >> 8) * time >> 24)
            before, then = now, t
        place = toward_zero(first * num, den) if north else latitude
        place = toward_zero(min(max(place, -900_000_000), 900_000_000), 100_000)
        if north:
            length = 11_113_292 - (55_982 * cosine(2 * place) >> 16)
        else:
            length = max(11_141_284 * cosine(place) - 9_350 * cosine(3 * place) >> 16, 100_000)
        scale = (den << 47) // (length * num)
        return [(way * scale + (1 << 31)) >> 32 for way in doubled]

    return steps


class Frame:
    def __init__(self, data, built_in):
        assert data[0] == 1, "a version that this page does not describe"
        assert crc32c(data[:-4]) == int.from_bytes(data[-4:], "little"), "damaged"
        self.heap, self.bits, self.mask = data[:-4], Bits(data[:-4]), None
        r = self.bits
        self.vehicle, self.boot = r.vehicle(), r.get(64)
        stream, codec, lineage = r.get(3), r.get(1), r.get(1)
        assert codec == 0
        self.seq, self.n = r.golomb(14), r.golomb(5) + 1
        self.times_of_header()
        self.lineage = [r.get(64).to_bytes(8, "little").hex() for _ in range(r.get(5) + 1)] if lineage else []
        if stream == 7:
            self.stream = r.name()
            self.columns = [(r.name(), KINDS[r.get(3)]) for _ in range(r.golomb(2))]
        else:
            self.stream, self.columns = list(built_in.items())[stream]
        self.derived = stream == 7
        self.body()

    def times_of_header(self):
        r = self.bits
        tick = r.golomb(0)
        unit = UNITS[tick + unzigzag(r.golomb(0))]
        self.tick = UNITS[tick]
        self.start = (unzigzag(r.golomb(unit[1])) + EPOCH // unit[0]) * unit[0]
        self.step = self.span = None
        if self.n > 1 and r.get(1):
            self.span = r.golomb(self.tick[3])
        else:
            self.step = r.golomb(self.tick[2]) if self.n > 1 else 0

    def body(self):
        r, n = self.bits, self.n
        ticks = [i * self.step for i in range(n)] if self.span is None else self.ticks()
        self.ts = [self.start + tick * self.tick[0] for tick in ticks]
        self.clocks = self.read_clocks()
        self.full = not r.get(1)
        names = [name for name, kind in self.columns if kind == "int"]
        moving = all(name in names for name in ("lat_e7", "lon_e7", "speed_mm_s", "heading_cdeg"))
        last = ["lat_e7", "lon_e7"] if moving else []
        self.values = {}
        for name, kind in [c for c in self.columns if c[0] not in last]:
            self.values[name] = self.column(name, kind, None)
        if moving:
            of = lambda north, first: reckoning(
                self.ts, self.values["speed_mm_s"], self.values["heading_cdeg"], north, first
            )
            latitude = self.values["lat_e7"] = self.column("lat_e7", "int", of(True, None))
            known = None not in latitude
            self.values["lon_e7"] = self.column("lon_e7", "int", of(False, latitude[0]) if known else None)

    def ticks(self):
        r, n = self.bits, self.n
        out, code = [r.golomb(1)], r.get(2)
        if code == 0:
            return out + [signed(m + self.span * i // (n - 1)) for i, m in enumerate(r.misses(n - 1), 1)]
        apart = unzigzag(r.golomb(4))
        steps = [apart + m for m in r.misses(n - 1)] if code == 1 else [apart]
        for m in r.misses(n - 2) if code == 2 else []:
            steps.append(steps[-1] + m)
        for step in steps:
            out.append(out[-1] + step)
        return out

    def read_clocks(self):
        r = self.bits
        for clock in ("gps", "ntp", "none"):
            if not r.get(1):
                return [clock] * self.n
        out = []
        while len(out) < self.n:
            clock = CLOCKS[r.get(2)]
            out += [clock] * r.gamma()
        return out

    def column(self, name, kind, way):
        r, mask = self.bits, None
        if not self.full and r.get(1):
            if not r.get(1):
                return [None] * self.n
            if not r.get(1):
                self.mask = r.bools(self.n)
            mask, way = self.mask, None
        n = sum(mask) if mask else self.n
        if kind == "int":
            values = r.ints(n, HINTS.get(name, ANY), way)
        elif kind == "float":
            values = r.floats(n)
        elif kind == "bool":
            values = [bool(v) for v in r.bools(n)]
        else:
            values = self.texts(n)
            values = [v.decode() for v in values] if kind == "text" else values
        rest = iter(values)
        return [next(rest) if m else None for m in mask] if mask else values

    def texts(self, n):
        r = self.bits
        plain = r.get(1)
        different = n if plain else r.golomb(1) + 1
        lengths = r.ints(different, PLAIN)
        pieces, start = [], len(self.heap) - sum(lengths)
        at = start
        for length in lengths:
            pieces.append(self.heap[at : at + length])
            at += length
        self.heap = self.heap[:start]
        if plain:
            return pieces
        places = r.ints(n, PLAIN) if different > 1 else [0] * n
        return [pieces[place] for place in places]

    def rows(self):
        for i in range(self.n):
            row = {"stream": self.stream, "vehicle_id": self.vehicle, "boot_id": f"{self.boot:016x}"}
            row |= {"seq": self.seq + i, "lineage": ",".join(self.lineage), "ts": self.ts[i], "clock": self.clocks[i]}
            for name, _ in self.columns:
                value = self.values[name][i]
                if isinstance(value, bytes):
                    text = base64.b64encode(value).decode()
                    value = {"base64": text} if self.derived else text
                if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
                    value = None
                row[name + "_" if name in row else name] = value
            yield row


def main():
    """The first argument is a JSON object: the built-in streams in their order, each with its columns."""
    built_in = json.loads(sys.argv[1])
    for line in sys.stdin:
        for row in Frame(bytes.fromhex(line), built_in).rows():
            print(json.dumps(row))


if __name__ == "__main__":
    main()
