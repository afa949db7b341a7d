# once PATTERN, TEXT: substitutes in $_, and dies unless the pattern is there exactly once.
sub once {
  my ($from, $to) = @_;
  my $n = s/$from/$to/g || 0;
  die "$ARGV has $n times, not once: $from\n" if $n != 1;
}
1;
