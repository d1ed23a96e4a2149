"""`gps` against pynmea2 and gpxpy."""

import datetime

import gpxpy
import gpxpy.gpx
import numpy as np
import pynmea2

FIELDS = ["time", "latitude", "longitude", "altitude", "speed", "course"]
KNOT = 1852 / 3600


def sentence(body):
    check = 0
    for letter in body.encode():
        check ^= letter
    return f"${body}*{check:02X}"


def log(start, seconds, seed=0, date=True, talkers=("GP", "GN")):
    """A log as receivers write it: GGA, RMC and VTG each second, of changing talkers."""
    random = np.random.default_rng(seed)
    lines = []
    for second in range(seconds):
        now = start + datetime.timedelta(seconds=second, milliseconds=250)
        clock, day = now.strftime("%H%M%S.%f")[:-4], now.strftime("%d%m%y")
        latitude, longitude = random.uniform(-90, 90), random.uniform(-180, 180)
        def angle(value, digits):
            value = abs(value)
            return f"{int(value):0{digits}d}{(value - int(value)) * 60:08.5f}"
        place = (f"{angle(latitude, 2)},{'N' if latitude >= 0 else 'S'},"
                 f"{angle(longitude, 3)},{'E' if longitude >= 0 else 'W'}")
        if "60.0" in place:
            continue
        talker = talkers[second % len(talkers)]
        lines.append(sentence(f"{talker}GGA,{clock},{place},1,08,0.9,{random.uniform(-50, 4000):.1f},M,46.9,M,,"))
        lines.append(sentence(f"{talker}GSV,1,1,00"))
        if date:
            lines.append(sentence(f"{talker}RMC,{clock},A,{place},{random.uniform(0, 90):.2f},{random.uniform(0, 360):.2f},{day},,,A"))
    return lines


def by_pynmea(lines):
    """A row for each time of day, made of what pynmea2 reads."""
    rows = {}
    for line in lines:
        message = pynmea2.parse(line)
        if message.sentence_type == "GGA":
            rows.setdefault(message.timestamp, {}).update(
                latitude=message.latitude, longitude=message.longitude, altitude=message.altitude)
        if message.sentence_type == "RMC":
            time = message.datetime
            time = time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)
            rows.setdefault(message.timestamp, {}).update(
                time=time.timestamp(), latitude=message.latitude, longitude=message.longitude,
                speed=message.spd_over_grnd * KNOT, course=message.true_course)
    return np.array([[row.get(field, np.nan) for field in FIELDS] for row in rows.values()], dtype="f8")


def test_a_log_over_midnight_agrees_with_pynmea2(project):
    project = project(shape=(6,), dtype="<f8", decoder="[dataset.gps]", columns="time = true")
    lines = log(datetime.datetime(2023, 12, 31, 23, 50), 1500)
    (project.drop / "a.nmea").write_text("\r\n".join(lines) + "\r\n")
    project.once()
    rows, expected = project.rows(), by_pynmea(lines)
    assert rows.shape == expected.shape
    assert np.allclose(rows[:, 1:], expected[:, 1:], rtol=0, atol=1e-9)
    assert np.allclose(rows[:, 0], expected[:, 0], rtol=0, atol=1e-6)
    assert np.allclose(project.column("time"), rows[:, 0] - rows[0, 0], atol=1e-6)
    assert rows[-1, 0] > datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc).timestamp()


def test_the_date_is_reckoned_where_few_sentences_tell_it(project):
    dtype = [["time", "<M8[ms]"], ["latitude", "<f8"], ["altitude", "<f4"]]
    project = project(shape=None, dtype=dtype, decoder="[dataset.gps]", watch='order = "name"')
    lines = log(datetime.datetime(2024, 2, 28, 23, 59, 30), 120, date=False)
    late = sentence("GPRMC,000015.25,V,,,,,,,290224,,,N")  # no fix, but a date
    at = next(place for place, line in enumerate(lines) if "GGA,000016" in line)
    (project.drop / "a.nmea").write_text("\n".join(lines[:at] + [late] + lines[at:]))
    project.once()
    times = project.rows()["time"]
    assert times[0] == np.datetime64("2024-02-28T23:59:30.250", "ms")
    assert np.all(np.diff(times) >= np.timedelta64(1, "s")) and times[-1] >= np.datetime64("2024-02-29T00:01:00", "ms")


def test_bad_sentences_are_left_out_and_counted(project):
    project = project(shape=(3,), dtype="<f8", decoder='[dataset.gps]\nfields = ["latitude", "longitude", "speed"]')
    lines = log(datetime.datetime(2024, 5, 1), 50)
    expected = by_pynmea(lines)[:, [1, 2, 4]]
    broken = lines[4][:-1] + ("0" if lines[4][-1] != "0" else "1")
    extra = ["no sentence at all", "[12:00] " + lines[0], broken, "$GPGGA,1200", sentence("GPGGA,250000,,,,,0,,,,,,,"),
             sentence("GPGGA,115959.00,4807.038,N,01131.000,E,0,,,,,,,"), sentence("GPRMC,115958.00,V,,,,,,,010524,,,N"),
             sentence("GPVTG,,T,,M,,N,,K,N")]
    (project.drop / "a.log").write_text("\n".join(extra[1:2] + lines[1:] + extra[:1] + extra[2:]))
    (project.drop / "b.txt").write_text("1,2,3\n")
    (project.drop / "c.nmea").write_text("\n".join(extra[2:5]))
    project.once(check=3)
    assert np.allclose(project.rows(), expected, rtol=0, atol=1e-9)
    (note,), = project.ledger("SELECT reason FROM sources WHERE status = 'committed'")
    assert note.startswith("left out 3 sentences, the first in line ") and "checksum is wrong" in note
    assert "neither NMEA" in project.rejected()["b.txt"]
    assert "no sentence with a fix" in project.rejected()["c.nmea"]


def test_vtg_gns_and_a_date_of_the_config(project):
    project = project(shape=(6,), dtype="<f8", decoder='[dataset.gps]\ndate = "2024-05-01"\non_error = "reject"')
    (project.drop / "a.nmea").write_text("\n".join([
        sentence("GNGNS,120000.00,4807.0380,N,01131.0000,W,AN,08,0.9,545.4,46.9,,"),
        sentence("GNVTG,84.4,T,81.3,M,022.4,N,041.5,K,A"),
        sentence("GLGGA,120001.00,4807.0390,S,01131.0010,E,2,08,0.9,,M,46.9,M,,"),
        sentence("GLVTG,10,T,,M,,N,036.0,K,A"),
    ]))
    (project.drop / "b.nmea").write_text("$GPRMC,1*00\n")
    project.once(check=3)
    noon = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone.utc).timestamp()
    expected = [[noon, 48.1173, -(11 + 31 / 60), 545.4, 22.4 * KNOT, 84.4],
                [noon + 1, -(48 + 7.039 / 60), 11 + 31.001 / 60, np.nan, 10, 10]]
    assert np.allclose(project.rows(), expected, rtol=0, atol=1e-9, equal_nan=True)
    assert project.rejected()["b.nmea"] == "line 1: the checksum is wrong: found 00, but that of the sentence's characters is 56"


def test_gpx_agrees_with_gpxpy(project):
    project = project(shape=(6,), dtype="<f8", decoder="[dataset.gps]", watch='order = "name"')
    random = np.random.default_rng(5)
    gpx = gpxpy.gpx.GPX()
    gpx.waypoints.append(gpxpy.gpx.GPXWaypoint(1, 2))
    for _ in range(3):
        track = gpxpy.gpx.GPXTrack(name="a <track> & more")
        for _ in range(2):
            segment = gpxpy.gpx.GPXTrackSegment()
            for second in range(200):
                time = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=second)
                point = gpxpy.gpx.GPXTrackPoint(float(random.uniform(-90, 90)), float(random.uniform(-180, 180)),
                                                elevation=float(random.uniform(0, 99)) if second % 3 else None,
                                                time=time if second % 5 else None)
                point.speed, point.course = float(random.uniform(0, 9)), float(random.uniform(0, 360))
                segment.points.append(point)
            track.segments.append(segment)
        gpx.tracks.append(track)
    (project.drop / "a.gpx").write_text(gpx.to_xml(version="1.0"))
    (project.drop / "b.gpx").write_text(gpx.to_xml(version="1.1"))
    project.once()

    def expected(path):
        parsed = gpxpy.parse(path.read_text())
        nan = lambda value: np.nan if value is None else value
        return [[nan(p.time and p.time.timestamp()), p.latitude, p.longitude, nan(p.elevation), nan(p.speed), nan(p.course)]
                for track in parsed.tracks for segment in track.segments for p in segment.points]

    both = np.array(expected(project.drop / "a.gpx") + expected(project.drop / "b.gpx"), dtype="f8")
    assert len(both) == 2400 and np.array_equal(project.rows(), both, equal_nan=True)


def test_gpx_that_is_damaged(project):
    project = project(shape=(2,), dtype="<f8", decoder='[dataset.gps]\nfields = ["latitude", "longitude"]')
    track = '<gpx version="1.1"><trk><trkseg>{}</trkseg></trk></gpx>'
    point = '<trkpt lat="1" lon="2"><ele>3</ele></trkpt>\n'
    (project.drop / "good.gpx").write_text(track.format(point + '<trkpt lat="x" lon="2"/>\n<trkpt lat="3" lon="4"/>'))
    (project.drop / "cut.gpx").write_text(track.format(point).removesuffix("</trkseg></trk></gpx>"))
    (project.drop / "tag.gpx").write_text(track.format(point)[:70])
    (project.drop / "wrong.gpx").write_text(track.format(point + "</trk>"))
    (project.drop / "empty.gpx").write_text('<gpx version="1.1"><wpt lat="1" lon="2"/></gpx>')
    project.once(check=3)
    assert np.array_equal(project.rows(), [[1, 2], [3, 4]])
    reasons = project.rejected()
    assert "cut short" in reasons["cut.gpx"] and "not XML" in reasons["tag.gpx"] and "not XML" in reasons["wrong.gpx"] and "no track" in reasons["empty.gpx"]
    (note,), = project.ledger("SELECT reason FROM sources WHERE status = 'committed'")
    assert note == ('left out 1 point, the first in line 2: the latitude cannot be read: found "x", expected degrees from '
                    "-90 to 90")


def test_numbers_with_exponents_agree_with_gpxpy(project):
    project = project(shape=(3,), dtype="<f8",
                      decoder='[dataset.gps]\nfields = ["latitude", "longitude", "altitude"]')
    text = ('<gpx version="1.1" creator="a"><trk><trkseg><trkpt lat="4.8E1" lon="-5.1E-4"><ele>1.0E-4</ele></trkpt>\n'
            '<trkpt lat="1" lon="2"><ele>1&#48;0</ele></trkpt></trkseg></trk></gpx>')
    (project.drop / "a.gpx").write_text(text)
    (project.drop / "b.gpx").write_text(text.replace('"4.8E1"', '"51,5"').replace('"1"', '"x"'))
    project.once(check=3)
    points = gpxpy.parse(text).tracks[0].segments[0].points
    assert project.rows().tolist() == [[point.latitude, point.longitude, point.elevation] for point in points]
    assert project.rejected() == {"b.gpx": "it gives no rows: left out 2 points, the first in line 1: the latitude cannot be "
                                           'read: found "51,5", expected degrees from -90 to 90'}


def test_what_is_gpx_is_not_told_by_how_its_root_is_written(project):
    """The bug: behind a byte order mark, or a prefix without an XML declaration, it was "neither NMEA nor GPX"."""
    project = project(shape=None, dtype=[["latitude", "<f8"], ["longitude", "<f8"]], watch='order = "name"', decoder="[dataset.gps]")
    body = ('<g:gpx version="1.1" xmlns:g="http://www.topografix.com/GPX/1/1"><g:trk><g:trkseg>'
            '<g:trkpt lat="1.5" lon="2.5"></g:trkpt></g:trkseg></g:trk></g:gpx>')
    starts = [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf<?xml version='1.0'?>", b"\xef\xbb\xbf\n<!--" + b" " * 5000 + b"-->"]
    for number, start in enumerate(starts):
        (project.drop / f"{number}.gpx").write_bytes(start + body.encode())
    (project.drop / "y.gpx").write_text("<gpx/>")
    (project.drop / "z.gpx").write_text("<!DOCTYPE html>\n<html><meta charset=utf-8><p>not here</html>")
    project.once(check=3)
    assert project.rows().tolist() == [(1.5, 2.5)] * len(starts)
    assert project.rejected() == {"y.gpx": "the GPX has no track: waypoints and routes are no fixes",
                                  "z.gpx": "the file is no GPX: found <html>, expected <gpx>"}
