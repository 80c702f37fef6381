import type { Case } from './dockerfile-case.ts'

const TREE =
  'mkdir -p a/b/c; echo f > a/b/c/f.txt; echo g > a/b/g.log; echo h > a/h.txt; chmod 711 a/b; chmod 600 a/h.txt'

/** COPY, ADD and ignore files. */
export const COPY_CASES: Case[] = [
  {
    name: 'COPY: the contents of a folder, with modes',
    dockerfile: 'FROM scratch\nCOPY a /x\n',
    make: TREE,
    files: { x: 'd 755 0:0', 'x/b': 'd 711 0:0', 'x/h.txt': 'f 600 0:0 h\n', 'x/b/c/f.txt': 'f 644 0:0 f\n' },
    peer: 'docker',
  },
  {
    name: 'COPY: owners of the context are not kept',
    dockerfile: 'FROM scratch\nCOPY a /x/\n',
    make: 'echo a > a; chown 7:8 a',
    files: { 'x/a': 'f 644 0:0 a\n' },
    peer: 'docker',
  },
  {
    name: 'COPY: to a name, to a folder, relative to WORKDIR',
    dockerfile: 'FROM scratch\nWORKDIR /w/v\nCOPY a b\nCOPY a c/\nCOPY a ../d\n',
    make: 'echo a > a',
    files: { 'w/v/b': 'f 644 0:0 a\n', 'w/v/c/a': 'f 644 0:0 a\n', 'w/d': 'f 644 0:0 a\n' },
    peer: 'docker',
  },
  {
    name: "COPY: Go's patterns",
    dockerfile: 'FROM scratch\nCOPY hom* ho?e.md h[a-n]me.x /d/\n',
    make: 'touch home.txt home.md homework home.x hame.x hzme.x',
    files: { 'd/home.txt': 'f 644 0:0 ', 'd/homework': 'f 644 0:0 ', 'd/hame.x': 'f 644 0:0 ', 'd/hzme.x': '-' },
    peer: 'docker',
  },
  {
    name: 'COPY: ** goes through folders',
    dockerfile: 'FROM scratch\nCOPY a/**/*.txt /d/\n',
    make: TREE,
    files: { 'd/f.txt': 'f 644 0:0 f\n', 'd/h.txt': 'f 600 0:0 h\n', 'd/g.log': '-' },
    peer: 'none: theirs lack it, or do it in another way',
  },
  {
    name: 'COPY: names with blanks in the exec form',
    dockerfile: 'FROM scratch\nCOPY ["a b", "/c d"]\n',
    make: "echo x > 'a b'",
    files: { 'c d': 'f 644 0:0 x\n' },
    peer: 'docker',
  },
  {
    name: 'COPY --chown: by number, and by names of the image',
    dockerfile:
      'FROM busybox\nRUN echo u:x:5:6::/:/bin/sh >> /etc/passwd && echo g:x:77: >> /etc/group\nCOPY --chown=1:2 a /a\nCOPY --chown=3 a /b\nCOPY --chown=u a /c\nCOPY --chown=u:g a /d/e/\n',
    make: 'echo x > a',
    files: { a: 'f 644 1:2 x\n', b: 'f 644 3:3 x\n', c: 'f 644 5:6 x\n', 'd/e/a': 'f 644 5:77 x\n', d: 'd 755 5:77' },
    peer: 'docker',
  },
  {
    name: 'COPY --chmod: octal and symbolic',
    dockerfile:
      'FROM scratch\nCOPY --chmod=4750 a/h.txt /o\nCOPY --chmod=u=rwX,go=rX a /s\nARG M=g+w\nCOPY --chmod=$M a/h.txt /v\n',
    make: TREE,
    files: { o: 'f 4750 0:0 h\n', 's/h.txt': 'f 644 0:0 h\n', 's/b/c': 'd 755 0:0', v: 'f 620 0:0 h\n' },
    peer: 'none: theirs lack it, or do it in another way',
  },
  {
    name: 'COPY --parents',
    dockerfile: 'FROM scratch\nCOPY --parents a/b/c/f.txt a/*.txt /x/\nCOPY --parents ./a/./b/**/*.txt /y/\n',
    make: TREE,
    files: {
      'x/a/b/c/f.txt': 'f 644 0:0 f\n',
      'x/a/b': 'd 711 0:0',
      'x/a/h.txt': 'f 600 0:0 h\n',
      'y/b/c/f.txt': 'f 644 0:0 f\n',
    },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'COPY --exclude',
    dockerfile: 'FROM scratch\nCOPY --exclude=*.txt --exclude=b/c a /x/\nCOPY --exclude=**/*.txt . /y/\n',
    make: TREE,
    files: {
      'x/h.txt': '-',
      'x/b/c': '-',
      'x/b/g.log': 'f 644 0:0 g\n',
      'y/a/b/c/f.txt': '-',
      'y/a/b/g.log': 'f 644 0:0 g\n',
    },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'COPY --link: folders on the way keep owner and mode',
    dockerfile:
      'FROM busybox\nRUN mkdir -p /d/e && chmod 1777 /d && chown 5:6 /d/e\nCOPY --link a /d/e/\nCOPY --link --chown=7 a /n/\n',
    make: 'echo x > a',
    files: { d: 'd 1777 0:0', 'd/e': 'd 755 5:6', 'd/e/a': 'f 644 0:0 x\n', 'n/a': 'f 644 7:7 x\n' },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'COPY: links are copied as links, and a source that is one is followed',
    dockerfile: 'FROM scratch\nCOPY d /d\nCOPY d/l /f\n',
    make: 'mkdir d; echo x > d/x; ln -s x d/l',
    files: { 'd/l': 'l x', f: 'f 644 0:0 x\n' },
    peer: 'docker',
  },
  {
    name: 'COPY: through a link of the image, and never out of it',
    dockerfile:
      'FROM busybox\nRUN mkdir /real && ln -s /real /link && ln -s ../../../../out /up\nCOPY a /link/\nCOPY a /up/\n',
    make: 'echo x > a',
    files: { 'real/a': 'f 644 0:0 x\n', 'out/a': 'f 644 0:0 x\n' },
    peer: 'docker',
  },
  {
    name: 'COPY: a folder that was there keeps its mode, a file is replaced',
    dockerfile: 'FROM busybox\nRUN mkdir -m 700 /d && echo old > /d/h.txt\nCOPY a /d/\n',
    make: TREE,
    files: { d: 'd 700 0:0', 'd/h.txt': 'f 600 0:0 h\n' },
    peer: 'docker',
  },
  ...['gz:z', 'bz2:j', 'xz:J', 'zst:-zstd', 'plain:'].map(
    (how): Case => ({
      name: `ADD: unpacks tars (${how.split(':')[0]})`,
      dockerfile: 'FROM scratch\nADD t /x/\n',
      make: `mkdir q; echo x > q/f; chown 7:8 q/f; tar -c${how.endsWith('zstd') ? ' --zstd -' : how.split(':')[1]}f t -C q f; rm -r q`,
      files: { 'x/f': 'f 644 7:8 x\n', 'x/t': '-' },
      peer: 'buildah',
    }),
  ),
  {
    name: 'ADD --unpack=false keeps a tar, and COPY does',
    dockerfile: 'FROM scratch\nADD --unpack=false t /x/\nCOPY t /y/\n',
    make: 'touch f; tar -cf t f',
    files: { 'x/f': '-', 'x/t': 'any', 'y/t': 'any' },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'ADD: of an address',
    dockerfile:
      'ARG URL\nFROM scratch\nARG URL\nADD $URL/dir/hello.txt /x/\nADD --chmod=644 --chown=5:6 $URL/redirect /y\n',
    files: { 'x/hello.txt': 'f 600 0:0 hello\n', y: 'f 644 5:6 hello\n' },
    peer: 'buildah',
  },
  {
    name: 'ADD --checksum: a right one',
    dockerfile:
      'FROM scratch\nARG URL\nADD --checksum=sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 $URL/dir/hello.txt /x\n',
    files: { x: 'f 600 0:0 hello\n' },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'ADD --checksum: a wrong one',
    dockerfile: `FROM scratch\nARG URL\nADD --checksum=sha256:${'0'.repeat(64)} $URL/dir/hello.txt /x\n`,
    error: { code: 'build.step-failed', says: 'sha256:5891b5b5', line: 3 },
    peer: 'none: they refuse the flag as such',
  },
  {
    name: 'ADD: an address that is not there',
    dockerfile: 'FROM scratch\nARG URL\nADD $URL/missing /x\n',
    error: { code: 'build.step-failed', says: '404', line: 3 },
    peer: 'docker',
  },
  {
    name: 'ADD: tars of addresses are kept, and unpacked where --unpack says so',
    dockerfile: 'FROM scratch\nARG URL\nADD $URL/t.tar.gz /x/\nADD --unpack $URL/t.tar.gz /y/\n',
    files: { 'x/t.tar.gz': 'any', 'y/inside': 'f 644 0:0 in\n' },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'ADD: a repository, by branch and folder',
    dockerfile: 'FROM scratch\nARG GIT\nADD $GIT#side:sub /x\nADD $GIT /y\n',
    files: { 'x/s.txt': 'f 644 0:0 side\n', 'y/top.txt': 'f 644 0:0 top\n', 'y/.git': '-' },
    peer: 'none: they add no repositories',
  },
  {
    name: 'ADD: a repository over http, with --keep-git-dir',
    dockerfile: 'FROM scratch\nARG URL\nADD --keep-git-dir $URL/r.git#main /y\n',
    files: { 'y/top.txt': 'f 644 0:0 top\n', 'y/.git/HEAD': 'any' },
    peer: 'none: no such flag in theirs',
  },
  {
    name: 'ADD: a repository over ssh needs a key',
    dockerfile: 'FROM scratch\nADD git@forge.invalid:team/app.git /x\n',
    error: { code: 'build.secret-missing', says: 'over ssh', line: 2 },
    peer: 'none: they add no repositories',
  },
  {
    name: 'ADD: a repository at another commit than the one that was asked for',
    dockerfile: `FROM scratch\nARG GIT\nADD --checksum=${'0'.repeat(40)} $GIT /x\n`,
    error: { code: 'build.step-failed', says: 'and not the 0000', line: 3 },
    peer: 'none: they add no repositories',
  },
  {
    name: 'ignore files: patterns, ** and exceptions',
    dockerfile: 'FROM scratch\nCOPY . /x/\n',
    make: `${TREE}; printf '**/*.txt\\n!a/h.txt\\n# a comment\\n/a/b/g.log\\n.dockerignore\\n' > .dockerignore`,
    files: { 'x/a/b/c/f.txt': '-', 'x/a/h.txt': 'f 600 0:0 h\n', 'x/a/b/g.log': '-', 'x/.dockerignore': '-' },
    peer: 'docker',
  },
  {
    name: "ignore files: a Dockerfile's own one counts first",
    dockerfile: 'FROM scratch\nCOPY . /x/\n',
    make: 'touch a b; echo a > .dockerignore; echo b > Dockerfile.dockerignore',
    files: { 'x/a': 'f 644 0:0 ', 'x/b': '-' },
    peer: 'docker',
  },
]
