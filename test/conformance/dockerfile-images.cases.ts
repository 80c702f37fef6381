import type { Case } from './dockerfile-case.ts'

/** Forms of the configuration, users and shells, and what ONBUILD leaves for later. */
export const IMAGE_CASES: Case[] = [
  {
    name: 'HEALTHCHECK: in the exec form, with long durations',
    dockerfile: 'FROM scratch\nHEALTHCHECK --interval=1m30s --timeout=1h0.5s CMD ["/check", "--fast"]\n',
    config: { Healthcheck: { Test: ['CMD', '/check', '--fast'], Interval: 90e9, Timeout: 3600.5e9 } },
    peer: 'docker',
  },
  {
    name: 'HEALTHCHECK: the last one counts, and inherits nothing of the one before',
    dockerfile:
      'FROM scratch AS a\nHEALTHCHECK --interval=5s --retries=9 CMD one\nFROM a\nHEALTHCHECK --timeout=100ms \\\n  CMD two $X\n',
    config: { Healthcheck: { Test: ['CMD-SHELL', 'two $X'], Timeout: 0.1e9 } },
    peer: 'docker',
  },
  {
    name: 'HEALTHCHECK --start-interval',
    dockerfile: 'FROM scratch\nHEALTHCHECK --start-period=1m --start-interval=2s CMD x\n',
    config: { Healthcheck: { Test: ['CMD-SHELL', 'x'], StartPeriod: 60e9, StartInterval: 2e9 } },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'CMD and ENTRYPOINT: empty ones, and the last of several',
    dockerfile: 'FROM scratch\nENTRYPOINT ["a"]\nENTRYPOINT []\nCMD one\nCMD ["two", ""]\n',
    config: { Cmd: ['two', ''] },
    peer: 'docker',
  },
  {
    name: 'SHELL: for CMD, ENTRYPOINT and RUN behind it, and for what builds on it',
    dockerfile:
      'FROM busybox AS a\nSHELL ["/bin/sh", "-ec"]\nENTRYPOINT e\nFROM a\nRUN false; touch /not || true\nCMD c\n',
    error: { code: 'build.step-failed', says: 'exit code 1', line: 5 },
    peer: 'docker',
  },
  {
    name: 'SHELL: in the configuration',
    dockerfile: 'FROM scratch\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nENTRYPOINT e\nCMD c\n',
    config: {
      Shell: ['/bin/bash', '-o', 'pipefail', '-c'],
      Entrypoint: ['/bin/bash', '-o', 'pipefail', '-c', 'e'],
      Cmd: ['/bin/bash', '-o', 'pipefail', '-c', 'c'],
    },
    peer: 'docker',
  },
  {
    name: 'STOPSIGNAL: a number, and a name',
    dockerfile: 'FROM scratch AS a\nSTOPSIGNAL SIGQUIT\nFROM a\nSTOPSIGNAL 9\n',
    config: { StopSignal: '9' },
    peer: 'docker',
  },
  {
    name: 'LABEL: of a base, replaced by name',
    dockerfile: 'FROM scratch AS a\nLABEL x=1 y=2\nFROM a\nLABEL y="" z=3\n',
    config: { Labels: { x: '1', y: '', z: '3' } },
    peer: 'docker',
  },
  {
    name: 'VOLUME: an exec form with variables, and the same folder twice',
    dockerfile: 'FROM scratch\nENV D=/data\nVOLUME ["$D", "/e"]\nVOLUME ${D}\n',
    config: { Volumes: { '/data': {}, '/e': {} } },
    peer: 'docker',
  },
  {
    name: 'VOLUME: what is written behind it stays',
    dockerfile: 'FROM busybox\nRUN mkdir /v && echo a > /v/a\nVOLUME /v\nRUN echo b > /v/b\n',
    files: { 'v/a': 'f 644 0:0 a\n', 'v/b': 'f 644 0:0 b\n' },
    peer: 'docker',
  },
  {
    name: 'WORKDIR: one that is there keeps owner and mode, and one that is not has USER as owner',
    dockerfile: 'FROM busybox\nRUN mkdir -m 700 /d && chown 5:6 /d\nWORKDIR /d\nUSER 7:8\nWORKDIR new/deep\n',
    files: { d: 'd 700 5:6', 'd/new': 'd 755 7:8', 'd/new/deep': 'd 755 7:8' },
    config: { WorkingDir: '/d/new/deep' },
    peer: 'docker',
  },
  {
    name: 'WORKDIR: through a link, with blanks and a slash behind',
    dockerfile: 'FROM busybox\nRUN mkdir /real && ln -s real /l\nWORKDIR /l/a b/\nRUN pwd > /p\n',
    files: { 'real/a b': 'd 755 0:0' },
    peer: 'docker',
  },
  {
    name: 'USER: a group by name, and groups that a user has besides',
    dockerfile:
      'FROM busybox\nRUN echo u:x:5:6::/home/u:/bin/sh >> /etc/passwd && printf "g:x:77:\\nmore:x:88:u\\n" >> /etc/group && mkdir -m 777 /w\nUSER u:g\nRUN id -u > /w/a; id -g >> /w/a\nUSER u\nRUN id -G > /w/b; echo $HOME >> /w/b\n',
    files: { 'w/a': 'f 644 5:77 5\n77\n', 'w/b': 'f 644 5:6 6 88\n/home/u\n' },
    config: { User: 'u' },
    peer: 'docker',
  },
  {
    name: 'USER: COPY writes as root all the same',
    dockerfile: 'FROM busybox\nUSER 5\nCOPY f /f\nADD f /g\n',
    make: 'echo x > f',
    files: { f: 'f 644 0:0 x\n', g: 'f 644 0:0 x\n' },
    peer: 'docker',
  },
  {
    name: 'RUN: what it removes and makes anew, as another kind',
    dockerfile:
      'FROM busybox\nRUN mkdir /a && touch /a/old /b && ln -s b /c\nRUN rm -r /a && echo f > /a && rm /b && mkdir /b && rm /c && echo g > /c\nRUN rm -r /b && mkdir /b && touch /b/new\n',
    files: { a: 'f 644 0:0 f\n', 'a/old': '-', 'b/new': 'f 644 0:0 ', c: 'f 644 0:0 g\n' },
    peer: 'docker',
  },
  {
    name: 'RUN: owners, modes and links of what it makes',
    dockerfile:
      'FROM busybox\nRUN umask 027 && mkdir /d && touch /d/f && ln /d/f /d/h && ln -s f /d/l && chown 5:6 /d/f && chmod 4711 /d/f\nRUN chmod 700 /d\n',
    files: { d: 'd 700 0:0', 'd/f': 'f 4711 5:6 ', 'd/h': 'f 4711 5:6 ', 'd/l': 'l f' },
    peer: 'docker',
  },
  {
    name: 'RUN: the exec form has no shell',
    dockerfile: 'FROM busybox\nENV X=x\nRUN ["touch", "/a b", "/$X"]\nRUN ["sh", "-c", "echo $X > /c"]\n',
    files: { 'a b': 'f 644 0:0 ', $X: 'f 644 0:0 ', c: 'f 644 0:0 x\n' },
    peer: 'docker',
  },
  {
    name: 'ONBUILD: of a base of a base is gone',
    dockerfile:
      'FROM busybox AS a\nONBUILD RUN echo a >> /log\nFROM a AS b\nONBUILD RUN echo b >> /log\nFROM b\nRUN echo own >> /log\n',
    files: { log: 'f 644 0:0 a\nb\nown\n' },
    config: { OnBuild: undefined },
    peer: 'docker',
  },
  {
    name: 'ONBUILD: ENV, WORKDIR, USER and ADD, in their order and with variables of then',
    dockerfile:
      'FROM busybox AS a\nENV X=1\nONBUILD ENV Y=$X-$X\nONBUILD WORKDIR /w/$Y\nONBUILD ADD f .\nONBUILD USER 5\nONBUILD LABEL y=$Y\nENV X=2\nFROM a\nCMD ["x"]\n',
    make: 'echo f > f',
    files: { 'w/2-2/f': 'f 644 0:0 f\n' },
    config: { WorkingDir: '/w/2-2', User: '5', Labels: { y: '2-2' } },
    peer: 'docker',
  },
  {
    name: 'here-document: COPY with tabs taken away and several names',
    dockerfile: 'FROM scratch\nCOPY <<-one <<-two /d/\n\ta\n\t\tb\n\tone\n  c\ntwo\n',
    files: { 'd/one': 'f 644 0:0 a\nb\n', 'd/two': 'f 644 0:0   c\n' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'here-document: beside files of the context',
    dockerfile: 'FROM scratch\nARG V=v\nCOPY f <<doc d /x/\n${V} \\$V "q"\ndoc\n',
    make: 'echo f > f; mkdir d; echo g > d/g',
    files: { 'x/f': 'f 644 0:0 f\n', 'x/g': 'f 644 0:0 g\n', 'x/doc': 'f 644 0:0 v $V "q"\n' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'here-document: in a pipe, behind a command and with more behind it',
    dockerfile: 'FROM busybox\nRUN cat <<EOF | tr a b > /a && echo more >> /a\naaa\n# no comment\n\n  x \\\n y\nEOF\n',
    files: { a: 'f 644 0:0 bbb\n# no comment\n\n  x  y\nmore\n' },
    peer: 'none: no here-documents in theirs',
  },
  {
    name: 'here-document: ends with the first fault where its shell does',
    dockerfile: 'FROM busybox\nSHELL ["/bin/sh", "-e", "-c"]\nRUN <<EOF\nfalse\ntouch /a\nEOF\n',
    error: { code: 'build.step-failed', says: 'exit code 1', line: 3 },
    peer: 'none: here-documents are refused as such',
  },
  {
    name: 'RUN: a program that is not there',
    dockerfile: 'FROM busybox\nRUN ["/nowhere"]\n',
    error: { code: 'build.step-failed', says: '/nowhere', line: 2 },
    peer: 'docker',
  },
  {
    name: 'USER: one that the image does not have',
    dockerfile: 'FROM busybox\nUSER nobody-here\nRUN true\n',
    error: { code: 'build.step-failed', says: 'nobody-here', line: 3 },
    peer: 'docker',
  },
  {
    name: 'COPY: a folder where a file is',
    dockerfile: 'FROM busybox\nRUN touch /x\nCOPY d /x/\n',
    make: 'mkdir d; touch d/f',
    error: { code: 'build.step-failed', says: '/x', line: 3 },
    peer: 'docker',
  },
  {
    name: 'COPY --from: a path that the stage does not have',
    dockerfile: 'FROM busybox AS s\nRUN touch /there\nFROM scratch\nCOPY --from=s /their /x\n',
    error: { code: 'build.source-not-found', says: 'there', line: 4 },
    peer: 'docker',
  },
  {
    name: 'COPY --from: a stage by a number that there is not',
    dockerfile: 'FROM scratch\nCOPY --from=7 /a /a\n',
    error: { code: 'build.dockerfile-invalid', says: 'no stage 7', line: 2, column: 13 },
    peer: 'docker',
  },
  ...[
    ['COPY with a source alone', 'COPY a', 'destination'],
    ['COPY of several to a name', 'COPY a b c', 'folder'],
    ['COPY of an address', 'COPY http://x/y /y', 'write ADD'],
    ['ENV without a value', 'ENV A', 'name=value'],
    ['LABEL with a word that is none', 'LABEL a=b c', 'not c'],
    ['ARG without a name', 'ARG =x', 'ARG takes a name'],
    ['SHELL in the shell form', 'SHELL /bin/sh -c', 'SHELL'],
    ['HEALTHCHECK without a command', 'HEALTHCHECK CMD', 'no command'],
    ['HEALTHCHECK of another kind', 'HEALTHCHECK RUN x', 'HEALTHCHECK has no kind RUN'],
    ['HEALTHCHECK with a duration that is none', 'HEALTHCHECK --interval=5 CMD x', '--interval'],
    ['ONBUILD in ONBUILD', 'ONBUILD ONBUILD RUN x', 'ONBUILD'],
    ['FROM in ONBUILD', 'ONBUILD FROM x', 'FROM'],
    ['a flag twice', 'COPY --chown=1 --chown=2 a b', 'twice'],
    ['a mount of a kind that is none', 'RUN --mount=type=bnid,target=/x true', 'bind'],
    ['a mount without a target', 'RUN --mount=type=cache true', 'target'],
    ['a network that is none', 'RUN --network=some true', '--network takes'],
    ['words behind FROM', 'FROM scratch AS', 'FROM'],
  ].map(
    ([name, line, says]): Case => ({
      name: `faults: ${name}`,
      dockerfile: `FROM scratch AS first\n${line}\n`,
      error: { code: 'build.dockerfile-invalid', says: says ?? '', line: 2 },
      peer: 'docker',
    }),
  ),
]
