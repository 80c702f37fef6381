import { expect, test } from 'vitest'
import { containerResolvConf } from './identity-files.ts'

test.each([
  ['resolvers that can be reached', 'nameserver 1.1.1.1\nsearch a.b\n', '', 'nameserver 1.1.1.1\nsearch a.b\n'],
  [
    'the upstream file for those on the loopback',
    'nameserver 127.0.0.53\n',
    'nameserver 9.9.9.9\n',
    'nameserver 9.9.9.9\n',
  ],
  [
    'no IPv6 resolver',
    'nameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver 1.1.1.1',
    '',
    'nameserver 1.1.1.1\n',
  ],
  [
    'public ones where none is usable, with the rest of the file',
    '# own\nsearch a.b\nnameserver ::1\n',
    'nameserver 2001:db8::1\n',
    'search a.b\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n',
  ],
])('resolv.conf has %s', (_what, host, upstream, expected) => {
  expect(containerResolvConf(host, upstream)).toBe(expected)
})
