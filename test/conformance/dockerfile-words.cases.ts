import type { Case } from './dockerfile-case.ts'

/** Variables, quotes, lines and what ARG and ENV are known to. */
export const WORD_CASES: Case[] = [
  {
    name: 'variables: with and without a colon where the value is empty',
    dockerfile: 'FROM scratch\nENV E= F=x\nLABEL a=[${E+y}] b=[${E:+y}] c=[${F+y}] d=[${N+y}] e=[${N-d}] f=[${F-d}]\n',
    config: { Labels: { a: '[y]', b: '[]', c: '[y]', d: '[]', e: '[d]', f: '[x]' } },
    peer: 'none: no such form of variables in theirs',
  },
  {
    name: 'variables: those that have to be set and are',
    dockerfile: 'FROM scratch\nENV F=x E=\nLABEL a=${F:?no} b=${F?no} c=[${E?no}]\n',
    config: { Labels: { a: 'x', b: 'x', c: '[]' } },
    peer: 'docker',
  },
  {
    name: 'variables: defaults in defaults',
    dockerfile: 'FROM scratch\nENV B=b\nLABEL a=${A:-${B:-c}} b="${A:-x $B}" c=${A:-${D:-c}}\n',
    config: { Labels: { a: 'b', b: 'x b', c: 'c' } },
    peer: 'docker',
  },
  {
    name: 'variables: where a name ends',
    dockerfile: 'FROM scratch\nENV X=x\nLABEL a=${X}y b=$X-y c=[$Xy] d=$X.$X/$X\n',
    config: { Labels: { a: 'xy', b: 'x-y', c: '[]', d: 'x.x/x' } },
    peer: 'docker',
  },
  {
    name: 'variables: patterns with * and ?, shortest and longest',
    dockerfile:
      'FROM scratch\nENV P=/usr/lib/x.so.1\nLABEL a=${P#*/} b=${P##*/} c=${P%/*} d=${P%%/*} e=${P%.?} f=${P#/???} g=${P#nothing}\n',
    config: {
      Labels: {
        ...{ a: 'usr/lib/x.so.1', b: 'x.so.1', c: '/usr/lib', d: '', e: '/usr/lib/x.so', f: '/lib/x.so.1' },
        g: '/usr/lib/x.so.1',
      },
    },
    peer: 'none: no such form of variables in theirs',
  },
  {
    name: 'variables: replacements, the first and all, and of nothing by nothing',
    dockerfile: 'FROM scratch\nENV V=1.2.3\nLABEL a=${V/./_} b=${V//./_} c=${V//./} d=${V/9/x} e=${V//?./}\n',
    config: { Labels: { a: '1_2.3', b: '1_2_3', c: '123', d: '1.2.3', e: '3' } },
    peer: 'none: no such form of variables in theirs',
  },
  {
    name: 'variables: in COPY, WORKDIR, VOLUME, EXPOSE and USER',
    dockerfile:
      'FROM scratch\nARG D=/d N=n P=80\nWORKDIR $D/$N\nCOPY ${N} ${D}/to/\nVOLUME $D\nEXPOSE ${P}80\nUSER ${N:-x}:$P\n',
    make: 'echo n > n',
    files: { 'd/n': 'd 755 0:0', 'd/to/n': 'f 644 0:0 n\n' },
    config: { WorkingDir: '/d/n', Volumes: { '/d': {} }, ExposedPorts: { '8080/tcp': {} }, User: 'n:80' },
    peer: 'docker',
  },
  {
    name: 'variables: CMD and ENTRYPOINT are left as they are',
    dockerfile: 'FROM scratch\nENV X=x\nENTRYPOINT ["e", "$X"]\nCMD c ${X}\n',
    config: { Entrypoint: ['e', '$X'], Cmd: ['/bin/sh', '-c', 'c ${X}'] },
    peer: 'docker',
  },
  {
    name: 'variables: in RUN the shell replaces them',
    dockerfile: 'FROM busybox\nENV X=x\nRUN X=y; echo $X \'$X\' "${X:-z}" ${X#y} > /a\n',
    files: { a: 'f 644 0:0 y $X y\n' },
    peer: 'docker',
  },
  {
    name: 'quotes: blanks in values, and parts side by side',
    dockerfile: 'FROM scratch\nENV A="x  y" B=x\\ y C=\'x "y"\' D=x"y z"w\nLABEL a="$A" b="${B}" d=$D\n',
    config: {
      Env: [expectPath(), 'A=x  y', 'B=x y', 'C=x "y"', 'D=xy zw'],
      Labels: { a: 'x  y', b: 'x y', d: 'xy zw' },
    },
    peer: 'docker',
  },
  {
    name: 'quotes: escaped ones, and backslashes in both kinds',
    dockerfile: 'FROM scratch\nLABEL a="say \\"hi\\"" b=\'a\\b\' c="a\\b" d="a\\\\b"\n',
    config: { Labels: { a: 'say "hi"', b: 'a\\b', c: 'a\\b', d: 'a\\b' } },
    peer: 'docker',
  },
  {
    name: 'LABEL: values with an equals sign, and empty ones',
    dockerfile: 'FROM scratch\nLABEL a=b=c d= e=""\n',
    config: { Labels: { a: 'b=c', d: '', e: '' } },
    peer: 'docker',
  },
  {
    name: 'ARG: unknown before its line',
    dockerfile: 'FROM busybox\nRUN echo "[$A]" > /a\nARG A=1\nRUN echo "[$A]" >> /a\n',
    files: { a: 'f 644 0:0 []\n[1]\n' },
    peer: 'docker',
  },
  {
    name: 'ARG: a default out of others',
    dockerfile: 'FROM busybox\nARG A=1\nENV E=e\nARG B=$A-$E C=[$B]\nARG D=$B\nRUN echo $B $C $D > /a\n',
    request: { args: { A: '2' } },
    files: { a: 'f 644 0:0 2-e [] 2-e\n' },
    peer: 'docker',
  },
  {
    name: 'ARG: one that nobody gives is no variable',
    dockerfile: 'FROM busybox\nARG A\nARG B=\nRUN env | grep -c "^A=" > /a; env | grep -c "^B=" >> /a\n',
    files: { a: 'f 644 0:0 0\n1\n' },
    peer: 'docker',
  },
  {
    name: 'ARG: kept in ENV, and in no image otherwise',
    dockerfile: 'FROM busybox\nARG V=1\nENV KEPT=${V:-none}\n',
    request: { args: { V: '7' } },
    config: { Env: [expectPath(), 'KEPT=7'] },
    peer: 'docker',
  },
  {
    name: 'ARG: those before FROM with defaults of each other',
    dockerfile: 'ARG N=busy\nARG B=${N}box\nFROM ${B:-nothing} AS x\nARG B=own\nRUN echo $B > /a\n',
    files: { a: 'f 644 0:0 own\n' },
    peer: 'docker',
  },
  {
    name: 'ENV: of a stage is known to what builds on it, and to no other',
    dockerfile:
      'FROM busybox AS a\nENV X=1\nFROM a AS b\nRUN echo "[$X]" > /b\nFROM busybox\nRUN echo "[$X]" > /c\nCOPY --from=b /b /b\n',
    files: { b: 'f 644 0:0 [1]\n', c: 'f 644 0:0 []\n' },
    config: { Env: [expectPath()] },
    peer: 'docker',
  },
  {
    name: 'ENV: PATH finds the programs of RUN',
    dockerfile:
      'FROM busybox\nRUN mkdir /own && printf "#!/bin/sh\\necho own > /a\\n" > /own/tool && chmod 755 /own/tool\nENV PATH=/own:$PATH\nRUN tool\n',
    files: { a: 'f 644 0:0 own\n' },
    config: { Env: [`PATH=/own:${expectPath().slice(5)}`] },
    peer: 'docker',
  },
  {
    name: 'lines: instructions in small letters',
    dockerfile: 'from busybox as x\nrun echo a > /a\ncopy --from=busybox /bin/busybox /b\ncmd ["x"]\n',
    files: { a: 'f 644 0:0 a\n', b: 'any' },
    config: { Cmd: ['x'] },
    peer: 'docker',
  },
  {
    name: 'lines: blanks behind the escape character',
    dockerfile: 'FROM busybox\nRUN echo a \\  \n  b > /a\n',
    files: { a: 'f 644 0:0 a b\n' },
    peer: 'docker',
  },
  {
    name: 'lines: an escape character at the end of the file',
    dockerfile: 'FROM busybox\nRUN echo a > /a \\',
    files: { a: 'f 644 0:0 a\n' },
    peer: 'docker',
  },
  {
    name: 'lines: a number sign inside of an instruction is text',
    dockerfile: 'FROM busybox\n  # a comment\nRUN echo "#a" \'# b\' > /a # c\nLABEL a=#b\n',
    files: { a: 'f 644 0:0 #a # b\n' },
    config: { Labels: { a: '#b' } },
    peer: 'docker',
  },
  {
    name: 'lines: a byte order mark is no text',
    dockerfile: '\ufeffFROM busybox\nRUN echo a > /a\n',
    files: { a: 'f 644 0:0 a\n' },
    peer: 'docker',
  },
  {
    name: 'directives: behind a comment or an instruction they are comments',
    dockerfile: '# a comment\n# escape=`\nFROM busybox\nRUN echo a \\\n b > /a\n',
    files: { a: 'f 644 0:0 a b\n' },
    peer: 'docker',
  },
  {
    name: 'directives: with blanks, in any letters, and the escape character in values',
    dockerfile: '#   EsCaPe  =  `\nFROM busybox\nENV P=C:\\x\\y Q=a` b\nRUN echo a `\n  b > /a\n',
    files: { a: 'f 644 0:0 a b\n' },
    config: { Env: [expectPath(), 'P=C:\\x\\y', 'Q=a b'] },
    peer: 'docker',
  },
  {
    name: 'JSON: what is none is a shell command',
    dockerfile: 'FROM scratch\nCMD [\'a\', \'b\']\nENTRYPOINT [ "e" , "f" ]\n',
    config: { Cmd: ['/bin/sh', '-c', "['a', 'b']"], Entrypoint: ['e', 'f'] },
    peer: 'docker',
  },
  {
    name: 'stages: a target by number',
    dockerfile: 'FROM scratch AS a\nLABEL l=a\nFROM scratch AS b\nLABEL l=b\n',
    request: { target: '0' },
    config: { Labels: { l: 'a' } },
    peer: 'none: theirs lack it, or do it in another way',
  },
  {
    name: 'stages: one that is called as its image',
    dockerfile: 'FROM busybox AS busybox\nRUN echo own > /a\nFROM busybox\nRUN cat /a > /b\n',
    files: { b: 'f 644 0:0 own\n' },
    peer: 'docker',
  },
  {
    name: 'stages: what is built on a stage has its configuration',
    dockerfile:
      'FROM busybox AS a\nWORKDIR /w\nUSER 5\nENV E=e\nLABEL l=1\nEXPOSE 1\nCMD ["c"]\nFROM a\nLABEL m=2\nEXPOSE 2\n',
    config: {
      ...{ WorkingDir: '/w', User: '5', Cmd: ['c'], Labels: { l: '1', m: '2' } },
      ExposedPorts: { '1/tcp': {}, '2/tcp': {} },
    },
    peer: 'docker',
  },
]

/** What an image without a base has, and busybox, too. */
function expectPath(): string {
  return 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
}
