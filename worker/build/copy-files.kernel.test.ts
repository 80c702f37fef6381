import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { lgetxattr, lsetxattr } from '#worker/host/syscalls.ts'
import type { CopyStep } from '../dockerfile/step.ts'
import { copyFiles } from './copy-files.ts'
import { findSources } from './copy-sources.ts'
import { digestSources } from './digest-sources.ts'

const never = new AbortController().signal

const PLAIN: CopyStep = {
  ...{ kind: 'copy', sources: [], documents: [], urls: [], repositories: [], to: '/', from: undefined },
  ...{ chown: undefined, chmod: undefined, unpacks: 'none', isLinked: false, keepsParents: false, excludes: [] },
  ...{ keepsGit: false, checksum: undefined },
}

interface Copied {
  /** Path, type, owner and mode of all that is there. */
  files: string[]
  root: string
}

/** `make` is a shell script in the context's folder. */
async function copied(
  make: string,
  sources: string[],
  to: string,
  changes: Partial<CopyStep> = {},
  more: (context: string) => void = () => {},
) {
  using undo = new DisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'slipway-copy-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  const [context, root] = [join(folder, 'context'), join(folder, 'root')]
  mkdirSync(context)
  mkdirSync(root)
  execFileSync('bash', ['-ec', make], { cwd: context })
  more(context)
  const step = { ...PLAIN, sources, to, ...changes }
  const found = findSources({ path: context, name: 'the context' }, sources, step.keepsParents)
  await digestSources(found, never)
  await copyFiles(step, found, root, join(folder, 'scratch'), never)
  const shown = execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P %y %U:%G %m\\n'], { cwd: root })
  const files = shown.toString('latin1').trim().split('\n').sort()
  const made = undo.move()
  return { files, root, [Symbol.dispose]: () => made.dispose() }
}

const names = ({ files }: Copied) => files.map(line => line.split(' ')[0])

test('one match of a pattern gets the name of the destination', async () => {
  using result = await copied('mkdir target; touch target/foo-1.jar', ['target/*.jar'], '/app.jar')
  expect(names(result)).toEqual(['app.jar'])
  using inFolder = await copied('touch a.jar b.jar', ['*.jar'], '/lib/')
  expect(names(inFolder)).toEqual(['lib', 'lib/a.jar', 'lib/b.jar'])
})

test('several matches need a folder', async () => {
  await expect(copied('touch a.jar b.jar', ['*.jar'], '/app.jar')).rejects.toThrow('ends in a slash')
})

test.each([
  ['a small gzip', 'echo hello | gzip > f'],
  ['an empty gzip', 'gzip < /dev/null > f'],
  ['zeros in gzip', 'head -c 100000 /dev/zero | gzip > f'],
  ['a small bzip2', 'echo hello | bzip2 > f'],
  ['a small xz', 'echo hello | xz > f'],
  ['text that begins as a bzip2', 'echo BZhello > f'],
  ['an empty file', 'touch f'],
  ['a long text with ustar where tars have it', 'printf "%257sustar%600s" > f'],
])('ADD copies %s, which is no tar, as it is', async (_what, make) => {
  using result = await copied(make, ['f'], '/x/', { unpacks: 'local' })
  expect(names(result)).toEqual(['x', 'x/f'])
})

test.each(['-cf', '-czf', '-cjf', '-cJf'])('ADD unpacks a tar made with %s', async how => {
  const make = `mkdir q; touch q/file; chown 7:8 q/file; tar --force-local -C q ${how} a:b.tar file; rm -r q`
  using result = await copied(make, ['a:b.tar'], '/x', { unpacks: 'local' })
  expect(result.files).toEqual(['x d 0:0 755', 'x/file f 7:8 644'])
})

test('--chown keeps set-user-ID and capabilities', async () => {
  // VFS_CAP_REVISION_2 with cap_net_raw (linux/capability.h).
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
  const addCapability = (context: string) => lsetxattr(join(context, 'p'), 'security.capability', capability)
  using result = await copied('cp /bin/true p; chmod 4755 p', ['p'], '/p', { chown: '5:6' }, addCapability)
  expect(result.files).toEqual(['p f 5:6 4755'])
  expect(lgetxattr(join(result.root, 'p'), 'security.capability')).toEqual(capability)
})

test('names in any encoding are copied, by a pattern and with their folder', async () => {
  const make = "mkdir d; echo x > $'d/caf\\xe9'; echo y > $'new\\nline'; chown 3:4 d/*"
  using result = await copied(make, ['d', '*line'], '/x/', { chown: '5:6' })
  const found = readdirSync(join(result.root, 'x'), 'latin1').sort()
  expect(found).toEqual(['caf\xe9', 'new\nline'])
  expect(result.files).toContain('x/caf\xe9 f 5:6 644')
  using one = await copied(make, ['d/*'], '/x/')
  expect(readdirSync(join(one.root, 'x'), 'latin1')).toEqual(['caf\xe9'])
  using named = await copied(make, ['d/*'], '/é')
  expect(readFileSync(join(named.root, 'é'), 'utf8')).toBe('x\n')
})

const TREE = 'mkdir -p a/b/c; touch a/b/c/f.txt a/b/g.log a/h.txt; chmod 711 a/b'

test('--parents keeps folders with their modes, from /./ on where it is there', async () => {
  using whole = await copied(TREE, ['a/b/c/f.txt', 'a/*.txt'], '/x/', { keepsParents: true })
  expect(whole.files).toEqual([
    ...['x d 0:0 755', 'x/a d 0:0 755', 'x/a/b d 0:0 711', 'x/a/b/c d 0:0 755'],
    ...['x/a/b/c/f.txt f 0:0 644', 'x/a/h.txt f 0:0 644'],
  ])
  using pivot = await copied(TREE, ['a/./b/**/*.txt', './a/./b/c'], '/x/', { keepsParents: true })
  expect(names(pivot)).toEqual(['x', 'x/b', 'x/b/c', 'x/b/c/f.txt'])
})

test('--exclude leaves out what its patterns name, below folders with ** alone', async () => {
  using below = await copied(TREE, ['.'], '/x/', { excludes: ['**/*.txt', '!a/h.txt'] })
  expect(names(below)).toEqual(['x', 'x/a', 'x/a/b', 'x/a/b/c', 'x/a/b/g.log', 'x/a/h.txt'])
  using top = await copied('touch a.txt b.md', ['*'], '/x/', { excludes: ['*.txt'] })
  expect(names(top)).toEqual(['x', 'x/b.md'])
})

test('** goes through folders', async () => {
  using result = await copied(TREE, ['**/*.txt'], '/x/')
  expect(names(result)).toEqual(['x', 'x/f.txt', 'x/h.txt'])
})

test('--chmod takes symbolic modes, for folders as they need them', async () => {
  using result = await copied(`${TREE}; chmod 600 a/h.txt; chmod 700 a/b/g.log`, ['a'], '/x/', { chmod: 'go=rX' })
  expect(result.files).toEqual([
    ...['x d 0:0 755', 'x/b d 0:0 755', 'x/b/c d 0:0 755', 'x/b/c/f.txt f 0:0 644', 'x/b/g.log f 0:0 755'],
    'x/h.txt f 0:0 644',
  ])
})

test('ADD unpacks a tar made with zstd', async () => {
  using result = await copied('touch f; tar --zstd -cf t f; rm f', ['t'], '/x', { unpacks: 'local' })
  expect(names(result)).toEqual(['x', 'x/f'])
})
