{
  # The addon, and the small program that local jobs are run by. Everything is compiled with the same warnings, all
  # of them errors where CI builds the tests (native/test/Makefile), but not where a user's newer compiler may know more of them.
  'target_defaults': {
    'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-fno-strict-aliasing'],
    'cflags!': ['-fno-omit-frame-pointer'],
    'cflags_cc': [
      '-std=c++20', '-O3', '-fno-exceptions', '-fno-rtti', '-fvisibility=hidden',
      '-Wall', '-Wextra', '-Wconversion', '-Wno-restrict', '-Wno-stringop-overflow',
    ],
  },
  'targets': [
    {
      'target_name': 'usher',
      'defines': [
        'NAPI_VERSION=8', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED',
        # In a worker that is being terminated nothing can be thrown any more, and that is no reason to abort.
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      ],
      'cflags_cc': [
        '-isystem', '<!(node -p "require(\'path\').resolve(require(\'node-addon-api\').include_dir)")',
        '-isystem', '<(node_root_dir)/include/node',
      ],
      'sources': [
        '<!@(node -p "[\'core\', \'binding\'].flatMap((d) => require(\'fs\').readdirSync(\'native/\' + d).filter((f) => f.endsWith(\'.cpp\')).sort().map((f) => \'native/\' + d + \'/\' + f)).join(\' \')")',
      ],
    },
    {
      'target_name': 'usher-run',
      'type': 'executable',
      'cflags_cc': ['-fPIE'],
      'ldflags': ['-pie'],
      'sources': [
        '<!@(node -p "require(\'fs\').readdirSync(\'native/runner\').filter((f) => f.endsWith(\'.cpp\')).sort().map((f) => \'native/runner/\' + f).join(\' \')")',
      ],
    },
  ],
}
