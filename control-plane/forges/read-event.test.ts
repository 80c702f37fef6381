import { expect, test } from 'vitest'
import type { HookKind } from '#shared/domain/hook.ts'
import { readEvent } from './read-event.ts'

const [OLD, NEW, NONE] = ['a'.repeat(40), 'b'.repeat(40), '0'.repeat(40)]
const changed = { added: ['new'], removed: ['old'], modified: ['Dockerfile'] }

function read(kind: HookKind, headers: Record<string, string>, payload: unknown) {
  return readEvent(kind, name => headers[name], new TextEncoder().encode(JSON.stringify(payload)))
}

const github = (more: object = {}) => ({
  ...{ ref: 'refs/heads/main', before: OLD, after: NEW, created: false, deleted: false, forced: false },
  ...{ head_commit: { id: NEW, ...changed }, commits: [{ id: NEW, ...changed }] },
  ...{ repository: { id: 1, full_name: 'team/app', clone_url: 'https://github.com/team/app.git' } },
  ...more,
})

test("GitHub's pushes: of a branch, of a tag that is an object, forced, deleted", () => {
  const event = { 'x-github-event': 'push' }
  const paths = ['new', 'old', 'Dockerfile']
  const plain = {
    kind: 'push',
    ref: 'refs/heads/main',
    commit: NEW,
    repository: 'team/app',
    move: { before: OLD, after: NEW },
    paths,
  }
  expect(read('github', event, github())).toEqual(plain)
  const tag = github({ ref: 'refs/tags/v1', after: OLD, commits: [] })
  expect(read('github', event, tag)).toMatchObject({ ref: 'refs/tags/v1', commit: NEW, paths: undefined })
  expect(read('github', event, github({ forced: true }))).toMatchObject({ commit: NEW, paths: undefined })
  const gone = github({ deleted: true, after: NONE, head_commit: null, commits: [] })
  expect(read('github', event, gone)).toMatchObject({ commit: undefined })
})

test('a form with JSON in it is read, too', () => {
  const headers: Record<string, string> = {
    'x-github-event': 'push',
    'content-type': 'application/x-www-form-urlencoded',
  }
  const body = new URLSearchParams({ payload: JSON.stringify(github()) }).toString()
  const event = readEvent('github', name => headers[name], new TextEncoder().encode(body))
  expect(event).toMatchObject({ commit: NEW })
})

test('what is no push has a name, and a ping is one', () => {
  expect(read('github', { 'x-github-event': 'ping' }, { zen: 'x' })).toEqual({ kind: 'ping' })
  expect(read('github', { 'x-github-event': 'pull_request' }, {})).toEqual({ kind: 'other', name: 'pull_request' })
  expect(read('gitlab', { 'x-gitlab-event': 'Merge Request Hook' }, {})).toEqual({
    kind: 'other',
    name: 'Merge Request Hook',
  })
})

test("Gitea's and Forgejo's pushes, which list some commits of many", () => {
  const payload = {
    ...{ ref: 'refs/heads/develop', before: OLD, after: NEW, compare_url: 'http://localhost:3000/x' },
    ...{ commits: [{ id: NEW, message: 'Webhooks!', ...changed }], total_commits: 1 },
    ...{ repository: { id: 140, full_name: 'gitea/webhooks', clone_url: 'http://localhost:3000/gitea/webhooks.git' } },
  }
  const event = read('gitea', { 'x-gitea-event': 'push' }, payload)
  expect(event).toMatchObject({ ref: 'refs/heads/develop', commit: NEW, repository: 'gitea/webhooks' })
  const many = read('gitea', { 'x-forgejo-event': 'push' }, { ...payload, total_commits: 31 })
  expect(many).toMatchObject({ commit: NEW, paths: undefined })
})

test("GitLab's pushes and tags, by the commit that is checked out", () => {
  const payload = {
    ...{ object_kind: 'push', event_name: 'push', before: OLD, after: NEW, ref: 'refs/heads/main', checkout_sha: NEW },
    ...{ project: { id: 15, path_with_namespace: 'mike/sub/diaspora' }, commits: [changed], total_commits_count: 1 },
  }
  const push = read('gitlab', { 'x-gitlab-event': 'Push Hook' }, payload)
  expect(push).toMatchObject({ commit: NEW, repository: 'mike/sub/diaspora', paths: ['new', 'old', 'Dockerfile'] })
  expect(read('gitlab', { 'x-gitlab-event': 'Push Hook' }, { ...payload, total_commits_count: 21 })).toMatchObject({
    paths: undefined,
  })
  const tag = {
    ...payload,
    object_kind: 'tag_push',
    ref: 'refs/tags/v1',
    after: OLD,
    commits: [],
    total_commits_count: 0,
  }
  expect(read('gitlab', { 'x-gitlab-event': 'Tag Push Hook' }, tag)).toMatchObject({ ref: 'refs/tags/v1', commit: NEW })
  const gone = { ...payload, after: NONE, checkout_sha: null }
  expect(read('gitlab', { 'x-gitlab-event': 'Push Hook' }, gone)).toMatchObject({ commit: undefined })
})

test('what is nothing of this is refused', () => {
  const invalid = expect.objectContaining({ code: 'hook.payload-invalid' })
  expect(() => read('github', { 'x-github-event': 'push' }, { ref: 1 })).toThrow(invalid)
  const said = (message: string) => expect.objectContaining({ message: expect.stringContaining(message) })
  expect(() => read('signed', {}, { ref: 'main', commit: NEW })).toThrow(said('ref: must be refs/heads/NAME'))
  expect(() => read('signed', {}, { ref: 'refs/heads/a', commit: 'abc' })).toThrow(said('commit: must be a whole'))
  expect(() => readEvent('signed', () => undefined, new TextEncoder().encode('{'))).toThrow(said('is not JSON'))
  expect(() => readEvent('github', () => 'push', new TextEncoder().encode('{'))).toThrow(invalid)
})
