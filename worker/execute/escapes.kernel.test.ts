import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { ContainerSpec } from '#shared/domain/container.ts'
import { printedIn } from '#test/support/container-log.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { removeContainer } from './remove-container.ts'
import { logPathOf, runContainer } from './run-container.ts'

/**
 * Known ways out of a container, each tried by root in one of the defaults, and each refused. Needs root, busybox-static and the
 * perl that every Debian has, which makes calls of the kernel that no shell knows.
 */

let host: TestHost
/** Of the host: whoever reads or changes what is in here got out. */
let outside: string
const MARK = 'only the host has this'
beforeAll(async () => {
  host = await openTestHost('escape', 72)
  outside = mkdtempSync('/var/tmp/slipway-outside-')
  writeFileSync(join(outside, 'mark'), MARK)
})
afterAll(async () => {
  await host?.[Symbol.asyncDispose]()
  rmSync(outside, { recursive: true, force: true })
})

type Wishes = Partial<Pick<ContainerSpec, 'security' | 'user' | 'workdir'>>
interface Trial extends Wishes {
  /** Changes the files of the container before it runs, as a hostile image would. */
  arrange?: (rootfs: string) => void
  /** Called while it runs. */
  meanwhile?: (id: string) => Promise<void>
}

/** What a script printed, of a container that it was the end of. */
async function tried(script: string, { arrange, meanwhile, ...wishes }: Trial = {}): Promise<string> {
  const plain = host.want(['/bin/busybox', 'sh', '-c', `b=/bin/busybox; ${script}`])
  const want = { ...plain, spec: { ...plain.spec, ...wishes } }
  const image = await host.ports.images.find(want.spec.imageDigest)
  try {
    const { rootfs } = await host.ports.snapshots.prepare(want.id, image?.config.rootfs.diff_ids ?? [])
    addPerl(rootfs)
    arrange?.(rootfs)
    await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, host.ports)
    await meanwhile?.(want.id)
    const isOver = async () => (await host.ports.runtime.inspect(want.id)).state === 'exited'
    expect(await waitUntil(isOver, 20_000)).toBe(true)
    return printedIn(logPathOf(host.ports, want.id))
  } finally {
    await removeContainer(host.ports, want.id)
  }
}

function addPerl(rootfs: string): void {
  const perl = '/usr/bin/perl'
  const libraries = execFileSync('ldd', [perl], { encoding: 'utf8' }).match(/\/\S+/g) ?? []
  for (const path of [perl, ...libraries.filter(existsSync)]) {
    mkdirSync(join(rootfs, dirname(path)), { recursive: true, mode: 0o755 })
    copyFileSync(realpathSync(path), join(rootfs, path))
    chmodSync(join(rootfs, path), 0o755)
  }
}

const isX86 = process.arch === 'x64'
/** Number on x86-64, number elsewhere (asm-generic/unistd.h), arguments. */
const CALLS: Record<string, [number, number, string]> = {
  mount: [165, 40, '"none", "/tmp", "tmpfs", 0, 0'],
  umount2: [166, 39, '"/proc", 2'],
  pivot_root: [155, 41, '"/tmp", "/tmp"'],
  open_tree: [428, 428, '-100, "/", 1'],
  move_mount: [429, 429, '-100, "/tmp", -100, "/mnt", 0'],
  fsopen: [430, 430, '"tmpfs", 0'],
  mount_setattr: [442, 442, '-100, "/", 0, 0, 0'],
  'unshare of users': [272, 97, '0x10000000'],
  'unshare of mounts': [272, 97, '0x20000'],
  'unshare of the network': [272, 97, '0x40000000'],
  setns: [308, 268, '0, 0'],
  open_by_handle_at: [304, 265, '-100, "\\0" x 64, 0'],
  add_key: [248, 217, '"user", "a", "b", 1, -3'],
  keyctl: [250, 219, '0, -3, 0'],
  request_key: [249, 218, '"user", "a", 0, -3'],
  bpf: [321, 280, '0, "\\0" x 128, 128'],
  perf_event_open: [298, 241, '"\\0" x 128, 0, -1, -1, 0'],
  kexec_load: [246, 104, '0, 0, 0, 0'],
  kexec_file_load: [320, 294, '0, 0, 0, 0, 0'],
  init_module: [175, 105, '"\\0" x 64, 64, ""'],
  finit_module: [313, 273, '0, "", 0'],
  delete_module: [176, 106, '"ext4", 0'],
  reboot: [169, 142, '0xfee1dead, 672274793, 0x89abcdef, 0'],
  swapon: [167, 224, '"/tmp/x", 0'],
  settimeofday: [164, 170, '"\\0" x 16, 0'],
  clock_settime: [227, 112, '0, "\\0" x 16'],
  sethostname: [170, 161, '"x", 1'],
  acct: [163, 89, '"/tmp/x"'],
  syslog: [103, 116, '3, "\\0" x 64, 64'],
  quotactl: [179, 60, '0x800001, "/dev/vda", 0, 0'],
  userfaultfd: [323, 282, '0'],
  io_uring_setup: [425, 425, '1, "\\0" x 128'],
  'clone into a user namespace': [56, 220, '0x10000011, 0, 0, 0, 0'],
  clone3: [435, 435, '"\\0" x 88, 88'],
  'ptrace of the first process': [101, 117, '16, 1, 0, 0'],
}

describe('calls of the kernel', () => {
  let answers: Record<string, string>
  beforeAll(async () => {
    const lines = Object.entries(CALLS).map(([name, [x86, other, args]]) => {
      const number = isX86 ? x86 : other
      return `{ $! = 0; my @a = (${args}); my $r = syscall(${number}, @a); print "${name}=", ($r == -1 ? $!+0 : "allowed"), "\\n" }`
    })
    const output = await tried(`/usr/bin/perl -e '${lines.join('\n')}'`)
    answers = Object.fromEntries(output.split('\n').map(line => line.split('=') as [string, string]))
  })

  test.each(Object.keys(CALLS))('%s is refused', name => {
    expect(answers[name]).toMatch(/^(1|38|13)$/) // EPERM, ENOSYS, EACCES: of seccomp, or for want of a capability.
  })
})

describe('files of the kernel', () => {
  const WRITES = [
    ...['/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe', '/proc/sys/vm/drop_caches'],
    ...[
      '/proc/sys/fs/binfmt_misc/register',
      '/proc/sys/kernel/panic',
      '/proc/sysrq-trigger',
      '/proc/irq/0/smp_affinity',
    ],
    ...['/sys/kernel/uevent_helper', '/sys/power/state', '/sys/kernel/mm/ksm/run'],
  ]
  test.each(WRITES)('%s cannot be written', async path => {
    expect(await tried(`(echo 1 >${path}) 2>/dev/null && echo written || echo refused`)).toBe('refused')
  })

  test('no control group can be told what to run, or left', async () => {
    const script = `for f in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/cgroup.procs; do
      test -e $f && (echo 1 >$f) 2>/dev/null && echo $f; done;
      for d in $($b awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do $b mkdir $d/x 2>/dev/null && echo $d; done;
      $b cut -d : -f 3 /proc/self/cgroup | $b sort -u`
    expect(await tried(script)).toBe('/')
  })

  test('what tells of the host is empty', async () => {
    const masked = ['kcore', 'keys', 'timer_list', 'interrupts'].map(name => `/proc/${name}`)
    const script = `for f in ${masked.join(' ')}; do $b head -c 9 $f 2>/dev/null; done; $b ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | $b grep -v :; true`
    expect(await tried(script)).toBe('')
  })

  test('and there are no processes, links or mounts of the host, nor its environment', async () => {
    const script = `$b ls /proc | $b grep -c '^[0-9]'; $b ls /sys/class/net | $b tr '\\n' ' '; echo;
      $b tr '\\0' '\\n' </proc/1/environ | $b grep -ci slipway; $b kill -0 ${process.pid} 2>/dev/null && echo reached`
    const [processes, links, ...more] = (await tried(script)).split('\n').filter(line => line !== '')
    expect(Number(processes)).toBeLessThan(5)
    expect(links?.trim().split(' ').sort()).toEqual(['eth0', 'lo'])
    expect(more).toEqual(['0'])
  })
})

describe('devices', () => {
  test('a node of a disk, of memory or of the log of the kernel cannot be opened', async () => {
    const { rdev } = statSync(realpathSync('/dev/loop0'))
    expect(rdev >> 8).toBe(7)
    const nodes = ['b 7 0', 'b 254 0', 'b 8 0', 'c 1 1', 'c 1 11', 'c 10 200', 'c 10 232']
    const script = nodes.map(
      (node, at) => `$b mknod /dev/n${at} ${node}; (: </dev/n${at}) 2>/dev/null && echo opened ${node}`,
    )
    expect(await tried(`${script.join('\n')}\ntrue`)).toBe('')
  })

  test('nor can one that an image brings', async () => {
    const arrange = (rootfs: string) => execFileSync('mknod', [join(rootfs, 'disk'), 'b', '7', '0'])
    expect(await tried('(: </disk) 2>/dev/null && echo opened || echo refused', { arrange })).toBe('refused')
  })
})

test('a first process has no file of the host open, and no folder', async () => {
  const script = '$b ls /proc/1/fd; $b readlink /proc/1/cwd; $b readlink /proc/1/root'
  expect(await tried(`exec 2>/dev/null; ${script}`)).toMatch(/^0\n1\n2\n(10\n)?\/\n\/$/) // A shell may keep one as 10.
})

test('set-user-ID programs gain nothing', async () => {
  const arrange = (rootfs: string) => {
    copyFileSync('/usr/bin/perl', join(rootfs, 'bin/suid'))
    chmodSync(join(rootfs, 'bin/suid'), 0o4755)
  }
  expect(await tried(`/bin/suid -e 'print "$> $<"'`, { arrange, user: '1000:1000' })).toBe('1000 1000')
})

test('without NET_RAW no frame can be forged, and ping works all the same', async () => {
  const raw = `/usr/bin/perl -e 'socket(S, 17, 3, 0) and print "packet "; socket(R, 2, 3, 255) and print "raw"'`
  const security = { capDrop: ['CAP_NET_RAW'] }
  expect(await tried(`${raw}; /usr/bin/perl -e 'socket(S, 2, 2, 1) and print "pings"'`, { security })).toBe('pings')
})

describe("the runtime's own program", () => {
  const crun = realpathSync(execFileSync('which', ['crun'], { encoding: 'utf8' }).trim())
  const digest = () => createHash('sha256').update(readFileSync(crun)).digest('hex')

  test('cannot be overwritten through /proc/self/exe by whom it enters', async () => {
    const before = digest()
    // Every process that is not of the container's own programs is opened, and written as soon as it may be.
    const attack = `/usr/bin/perl -e 'my $end = time + 4; my %held; while (time < $end) {
      for my $p (glob "/proc/[0-9]*") { my $x = readlink "$p/exe"; next if !$x or $x =~ m{^/(usr/bin/perl|bin/busybox)};
        open(my $h, "<", "$p/exe") and $held{$x} = $h; }
      for my $h (values %held) { open(my $w, "+<", "/proc/self/fd/".fileno($h)) and syswrite($w, "pwned") and print "wrote\\n" } }
      print "saw ", scalar(keys %held), "\\n"'`
    const meanwhile = async (id: string) => {
      const root = `/run/slipway-escape/crun`
      for (const command of ['/proc/self/exe', '/bin/true', '/proc/self/exe', '/loop', '/bin/true', '/proc/self/exe']) {
        try {
          execFileSync('crun', ['--root', root, 'exec', id, command], { stdio: 'ignore' })
        } catch {
          // What it makes of that is its own matter.
        }
      }
    }
    const arrange = (rootfs: string) => writeFileSync(join(rootfs, 'loop'), '#!/proc/self/exe\n', { mode: 0o755 })
    expect(await tried(attack, { arrange, meanwhile })).not.toContain('wrote')
    expect(digest()).toBe(before)
  })
})

describe('links in an image lead nowhere else', () => {
  const untouched = () => {
    expect(readFileSync(join(outside, 'mark'), 'utf8')).toBe(MARK)
    expect(readdirSync(outside)).toEqual(['mark'])
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(outside)
  }
  const up = '../'.repeat(20)
  const targets = () => [outside, `${up}${outside.slice(1)}`]
  /** Whether the script sees the mark below a path. */
  const look = (path: string) => `$b cat ${path}/mark 2>/dev/null | $b grep -c '${MARK}'`

  /** What starts must not be outside, and what does not start is none the worse for it. */
  async function refusedOrInside(script: string, trial: Trial): Promise<string> {
    return tried(script, trial).catch(error => {
      expect(error.code).toMatch(/^(container\.(start-failed|files-unsafe|command.*)|host\..*)$/)
      return 'refused'
    })
  }

  test('of its working directory', async () => {
    for (const target of targets()) {
      const arrange = (rootfs: string) => symlinkSync(target, join(rootfs, 'work'))
      const seen = await refusedOrInside(look('.'), { arrange, workdir: '/work' })
      expect(['0', 'refused']).toContain(seen)
      untouched()
    }
  })

  test('of a working directory that is a descriptor of the runtime', async () => {
    for (let fd = 3; fd < 16; fd++) {
      const workdir = `/proc/self/fd/${fd}`
      const seen = await refusedOrInside(look(`.${`/${up}`}${outside.slice(1)}`), { workdir })
      expect(['0', 'refused']).toContain(seen)
    }
    untouched()
  })

  test.each(['hosts', 'resolv.conf', 'hostname'])('of /etc/%s', async name => {
    for (const target of targets()) {
      const arrange = (rootfs: string) => {
        mkdirSync(join(rootfs, 'etc'), { recursive: true })
        rmSync(join(rootfs, 'etc', name), { force: true })
        symlinkSync(join(target, 'mark'), join(rootfs, 'etc', name))
      }
      const seen = await refusedOrInside(`$b grep -c '${MARK}' /etc/${name}`, { arrange })
      expect(['0', 'refused']).toContain(seen)
      untouched()
    }
  })

  test.each(['etc', 'proc', 'sys', 'dev'])('of /%s', async name => {
    for (const target of targets()) {
      const arrange = (rootfs: string) => {
        rmSync(join(rootfs, name), { recursive: true, force: true })
        symlinkSync(target, join(rootfs, name))
      }
      const script = `${look(`/${name}`)}; (echo 1 >/proc/sys/kernel/panic) 2>/dev/null && echo written; true`
      const seen = await refusedOrInside(script, { arrange })
      expect(['0', 'refused']).toContain(seen)
      untouched()
    }
  })

  test('of folders in memory', async () => {
    for (const target of targets()) {
      const arrange = (rootfs: string) => symlinkSync(target, join(rootfs, 'data'))
      const script = `${look('/data')}; echo x >/data/new; $b grep -c ' /[^ ]*${outside} tmpfs ' /proc/mounts`
      const seen = await refusedOrInside(script, { arrange, security: { tmpfs: { '/data': '' } } })
      expect(seen === 'refused' || seen.startsWith('0')).toBe(true)
      untouched()
    }
  })
})

test('what even a privileged container mounts stays with it', async () => {
  const script = '$b mkdir /m; $b mount -t tmpfs escape-mark /m && echo mounted'
  let seen = ''
  const meanwhile = async () => {
    seen = readFileSync('/proc/self/mountinfo', 'utf8')
  }
  expect(await tried(`${script}; sleep 1`, { security: { privileged: true }, meanwhile })).toBe('mounted')
  expect(seen).not.toContain('escape-mark')
})
