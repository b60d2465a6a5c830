from conftest import Postgres
def test_x(postgres: Postgres) -> None:
    with postgres.database() as url:
        import subprocess, sys
        print(url)
        r=subprocess.run([sys.executable,'/tmp/gen/perf.py',url],env={'PYTHONPATH':'.','PATH':'/usr/bin:/bin'},capture_output=True,text=True)
        print(r.stdout[-3000:], r.stderr[-3000:])
        assert r.returncode==0
