import type { Case } from './dockerfile-case.ts'

/** What instructions put into the configuration. */
export const CONFIG_CASES: Case[] = [
  {
    name: 'CMD and ENTRYPOINT in both forms',
    dockerfile: 'FROM scratch\nENTRYPOINT ["/e", "x"]\nCMD echo $HOME\n',
    config: { Entrypoint: ['/e', 'x'], Cmd: ['/bin/sh', '-c', 'echo $HOME'] },
    peer: 'docker',
  },
  {
    name: 'ENTRYPOINT takes an inherited command away',
    dockerfile: 'FROM scratch AS a\nCMD ["c"]\nFROM a\nENTRYPOINT ["e"]\n',
    config: { Entrypoint: ['e'], Cmd: undefined },
    peer: 'docker',
  },
  {
    name: 'HEALTHCHECK',
    dockerfile:
      'FROM scratch\nHEALTHCHECK --interval=5m --timeout=3s --start-period=1s --retries=2 CMD curl -f http://x/ || exit 1\n',
    config: {
      Healthcheck: {
        ...{ Test: ['CMD-SHELL', 'curl -f http://x/ || exit 1'], Interval: 300e9, Timeout: 3e9 },
        ...{ StartPeriod: 1e9, Retries: 2 },
      },
    },
    peer: 'docker',
  },
  {
    name: 'HEALTHCHECK NONE takes an inherited one away',
    dockerfile: 'FROM scratch AS a\nHEALTHCHECK CMD ["x"]\nFROM a\nHEALTHCHECK NONE\n',
    config: { Healthcheck: { Test: ['NONE'] } },
    peer: 'docker',
  },
  {
    name: 'EXPOSE: ranges, protocols and variables',
    dockerfile: 'FROM scratch\nARG P=90\nEXPOSE 80 81/udp 82-83/tcp $P\n',
    config: { ExposedPorts: { '80/tcp': {}, '81/udp': {}, '82/tcp': {}, '83/tcp': {}, '90/tcp': {} } },
    peer: 'docker',
  },
  {
    name: 'VOLUME in both forms',
    dockerfile: 'FROM scratch\nVOLUME ["/a", "/b c"]\nVOLUME /d /e\n',
    config: { Volumes: { '/a': {}, '/b c': {}, '/d': {}, '/e': {} } },
    peer: 'docker',
  },
  {
    name: 'LABEL: several, quoted, over lines, and the old form',
    dockerfile: 'FROM scratch\nLABEL a=1 "b c"="d e" \\\n  f="g\\\nh"\nLABEL old two words\n',
    config: { Labels: { a: '1', 'b c': 'd e', f: 'gh', old: 'two words' } },
    peer: 'docker',
  },
  {
    name: 'labels of the request win',
    dockerfile: 'FROM scratch\nLABEL a=1 b=2\n',
    request: { labels: { b: '3', c: '4' } },
    config: { Labels: { a: '1', b: '3', c: '4' } },
    peer: 'docker',
  },
  {
    name: 'STOPSIGNAL, USER and WORKDIR with variables',
    dockerfile: 'FROM scratch\nARG S=SIGKILL U=7 D=x\nSTOPSIGNAL $S\nUSER $U\nWORKDIR /a\nWORKDIR $D/../y\n',
    config: { StopSignal: 'SIGKILL', User: '7', WorkingDir: '/a/y' },
    files: { 'a/y': 'd 755 7:7' },
    peer: 'docker',
  },
  {
    name: 'ONBUILD is kept',
    dockerfile: 'FROM scratch\nONBUILD RUN echo $X\nONBUILD COPY --chown=1 a /b\n',
    config: { OnBuild: ['RUN echo $X', 'COPY --chown=1 a /b'] },
    peer: 'docker',
  },
  {
    name: 'ONBUILD runs in whatever builds on it, once',
    dockerfile:
      'FROM busybox AS base\nONBUILD ARG V=2\nONBUILD RUN <<EOF\necho trigger $V >> /a\nEOF\nONBUILD COPY f /f\nFROM base AS next\nRUN echo own >> /a\nFROM next\nRUN echo last >> /a\n',
    make: 'echo f > f',
    files: { a: 'f 644 0:0 trigger 2\nown\nlast\n', f: 'f 644 0:0 f\n' },
    config: { OnBuild: undefined },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'ENV in the old form, and names that keep their place',
    dockerfile: 'FROM scratch\nENV A one two\nENV B=2\nENV A=3\n',
    config: { Env: [expectPath(), 'A=3', 'B=2'] },
    peer: 'docker',
  },
]

function expectPath(): string {
  return 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
}
