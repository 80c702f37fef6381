import type { Case } from './dockerfile-case.ts'

/** RUN with mounts, networks and shells. */
export const RUN_CASES: Case[] = [
  {
    name: 'RUN: shell and exec forms, and SHELL',
    dockerfile:
      'FROM busybox\nRUN ["sh", "-c", "echo \'$HOME\' > /a"]\nSHELL ["/bin/sh", "-xc"]\nRUN echo $HOME > /b\n',
    files: { a: 'f 644 0:0 $HOME\n', b: 'f 644 0:0 /root\n' },
    log: ['+ echo /root'],
    peer: 'docker',
  },
  {
    name: 'RUN: as USER by name and number, in WORKDIR',
    dockerfile:
      'FROM busybox\nRUN echo u:x:5:6::/:/bin/sh >> /etc/passwd && mkdir -m 777 /w\nWORKDIR /w\nUSER u\nRUN touch a\nUSER 9\nRUN touch b\nUSER 9:10\nRUN touch c\n',
    files: { 'w/a': 'f 644 5:6 ', 'w/b': 'f 644 9:0 ', 'w/c': 'f 644 9:10 ' },
    config: { User: '9:10', WorkingDir: '/w' },
    peer: 'docker',
  },
  {
    name: 'RUN: removed files are gone',
    dockerfile: 'FROM busybox\nRUN mkdir /d && touch /d/a /d/b\nRUN rm /d/a\n',
    files: { 'd/a': '-', 'd/b': 'f 644 0:0 ' },
    peer: 'docker',
  },
  {
    name: 'RUN --mount=type=bind: the context, read-only',
    dockerfile: 'FROM busybox\nRUN --mount=target=/c cat /c/a > /a && ! touch /c/b\n',
    make: 'echo x > a',
    files: { a: 'f 644 0:0 x\n', c: '-' },
    peer: 'buildah',
  },
  {
    name: 'RUN --mount=type=bind,rw: what is written is thrown away',
    dockerfile:
      'FROM busybox\nWORKDIR /w\nRUN --mount=target=c,source=d,rw echo y > c/b && cat c/* > /a\nRUN --mount=target=/c ls /c/d > /b\n',
    make: 'mkdir d; echo x > d/a',
    files: { a: 'f 644 0:0 x\ny\n', b: 'f 644 0:0 a\n', 'w/c': '-' },
    peer: 'none: theirs leave the folders that they mounted on',
  },
  {
    name: 'RUN --mount=type=bind: a file of another stage, and of an image',
    dockerfile:
      'FROM busybox AS s\nRUN echo x > /x\nFROM busybox\nRUN --mount=type=bind,from=s,source=/x,target=/m/n/f --mount=from=busybox,source=/bin,target=/bb cp /m/n/f /a && ls /bb/busybox\n',
    files: { a: 'f 644 0:0 x\n', m: '-', bb: '-' },
    peer: 'none: theirs leave the folders that they mounted on',
  },
  {
    name: 'RUN --mount=type=cache: kept from step to step, with owner and mode, and out of the image',
    dockerfile:
      'FROM busybox\nRUN --mount=type=cache,target=/c,id=conform-$RANDOM_ID,uid=5,gid=6,mode=0750 stat -c "%u:%g %a" /c > /a; echo x > /c/f\nRUN --mount=type=cache,target=/other,id=conform-$RANDOM_ID,sharing=locked cp /other/f /b\nRUN --mount=type=cache,target=/c,id=conform-$RANDOM_ID,ro ! touch /c/g\n',
    files: { a: 'f 644 0:0 5:6 750\n', b: 'f 644 0:0 x\n', c: '-', other: '-' },
    peer: 'buildah',
  },
  {
    name: 'RUN --mount=type=cache: begins with what a stage has',
    dockerfile:
      'FROM busybox AS s\nRUN mkdir /d && echo x > /d/f\nFROM busybox\nRUN --mount=type=cache,target=/c,id=conform-from,from=s,source=/d cp /c/f /a\n',
    files: { a: 'f 644 0:0 x\n' },
    peer: 'docker',
  },
  {
    name: 'RUN --mount=type=tmpfs',
    dockerfile:
      "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1m df /t | tail -1 | awk '{print $1, $2}' > /a; touch /t/x\n",
    files: { a: 'f 644 0:0 tmpfs 1024\n', t: '-' },
    peer: 'none: no such option of mounts in theirs',
  },
  {
    name: 'RUN --mount=type=secret: as a file and as a variable, masked in the log',
    dockerfile:
      'FROM busybox\nRUN --mount=type=secret,id=s --mount=type=secret,id=t,env=T --mount=type=secret,id=s,target=/x/y,uid=5,gid=6,mode=0440 cat /run/secrets/s; echo "$T"; stat -c "%u:%g %a" /x/y /run/secrets/s > /a; wc -c < /x/y >> /a\n',
    request: { secrets: { s: 'geheim-eins', t: 'geheim-zwei' } },
    files: { a: 'f 644 0:0 5:6 440\n0:0 400\n11\n', 'run/secrets': '-', x: '-' },
    log: ['***', '!geheim'],
    peer: 'none: no such option of mounts in theirs',
  },
  {
    name: 'RUN --mount=type=secret: one that is not given is not there',
    dockerfile: 'FROM busybox\nRUN --mount=type=secret,id=s test ! -e /run/secrets/s\n',
    peer: 'docker',
  },
  {
    name: 'RUN --mount=type=secret,required: one that is not given is a fault',
    dockerfile: 'FROM busybox\nRUN --mount=type=secret,id=s,required true\n',
    error: { code: 'build.secret-missing', says: 'secret s was not given', line: 2 },
    peer: 'docker',
  },
  {
    name: 'RUN --mount=type=ssh: a socket to sign with',
    dockerfile: 'FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /a\n',
    request: { ssh: { default: 'SSH-KEY' } },
    files: { a: 'f 644 0:0 /run/buildkit/ssh_agent.0\n', 'run/buildkit': '-' },
    peer: 'none: needs a key or consent that is given to us alone',
  },
  {
    name: 'RUN --network=none: no way out',
    dockerfile:
      'FROM busybox\nRUN --network=none ls /sys/class/net > /a\nRUN --network=default ls /sys/class/net | grep -v lo > /b\n',
    files: { a: 'f 644 0:0 lo\n', b: 'f 644 0:0 eth0\n' },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'RUN --network=host: not without consent',
    dockerfile: 'FROM busybox\nRUN --network=host true\n',
    request: { allow: ['network.host'] },
    error: { code: 'build.not-allowed', says: 'network.host', line: 2 },
    peer: 'none: they refuse the flag as such',
  },
  {
    name: 'RUN --security=insecure: not without consent',
    dockerfile: 'FROM busybox\nRUN --security=insecure true\n',
    error: { code: 'build.not-allowed', says: 'security.insecure', line: 2 },
    peer: 'none: they refuse the flag as such',
  },
  {
    name: 'RUN: a command that fails, with its line and code',
    dockerfile: 'FROM busybox\n\nRUN echo before && exit 3\n',
    error: { code: 'build.step-failed', says: 'exit code 3', line: 3 },
    log: ['before'],
    peer: 'docker',
  },
]
